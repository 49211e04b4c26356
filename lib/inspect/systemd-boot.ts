import { readSection } from '../formats/efi-program.ts';
import { loaderLines } from '../formats/loader-lines.ts';
import type { BootFile, BootVolume } from './boot-volume.ts';
import type { Budget } from './budget.ts';
import type { LoaderEntry } from './loader-entry.ts';

/** An entry of systemd-boot, with the fields by which systemd-boot sorts and chooses entries. */
export interface SystemdBootEntry extends LoaderEntry {
  /** The file name, without the boot counter. */
  readonly id: string;
  readonly sortKey: string;
  readonly machineId: string;
  /** Whether no boot attempt is left. Such entries are sorted last. */
  readonly isExhausted: boolean;
  /** The program that it starts; undefined when it is missing from the partition, so that the menu omits the entry. */
  readonly program: BootFile | undefined;
  readonly volume: BootVolume;
}

export interface SystemdBootMenu {
  /** In the order of the menu. */
  readonly entries: readonly SystemdBootEntry[];
  readonly chosen: SystemdBootEntry | undefined;
  /** The entry that loader.conf selects, if the menu omits it. */
  readonly missing: SystemdBootEntry | undefined;
  /** Whether loader.conf makes the menu wait until a user chooses. */
  readonly waitsForEver: boolean;
}

const MOST_ENTRIES = 256;

/** Reads the configuration of systemd-boot: loader.conf and the entries on its own partition, and the entries on
 *  extended boot loader partitions. @see systemd-boot(7), loader.conf(5), The Boot Loader Specification */
export async function readSystemdBoot(
  budget: Budget,
  own: BootVolume,
  volumes: readonly BootVolume[],
  architecture: string,
): Promise<SystemdBootMenu> {
  const entries: SystemdBootEntry[] = [];
  for (const volume of new Set([own, ...volumes]))
    for (const key of volume.files.keys()) {
      const isType1 = /^loader\/entries\/[^/]+\.conf$/.test(key);
      if (!isType1 && !/^efi\/linux\/[^/]+\.efi$/.test(key)) continue;
      const file = volume.file(key);
      if (file === undefined) continue;
      if (entries.length >= MOST_ENTRIES) {
        budget.leaveOut(`loader entries beyond the first ${MOST_ENTRIES}`);
        break;
      }
      // systemd-boot skips a UKI without an os-release.
      if (!isType1 && (await file.pe())?.sections.has('.osrel') === false) continue;
      const entry = isType1 ? await readType1(file, volume, architecture) : await readType2(file, volume);
      if (entry !== undefined) entries.push(entry);
    }
  entries.sort(compareEntries);
  const settings = new Map<string, string>();
  for (const [name, value] of loaderLines((await own.file('loader/loader.conf')?.text()) ?? ''))
    settings.set(name, value);
  const pattern = settings.get('default');
  const asked = pattern === undefined ? undefined : entries.find((entry) => matches(pattern, entry.id));
  const startable = entries.filter(({ program }) => program !== undefined);
  const chosen =
    pattern === undefined ? startable[0] : (startable.find((entry) => matches(pattern, entry.id)) ?? startable[0]);
  return {
    entries: entries.map((entry) => (entry === chosen ? { ...entry, isDefault: true } : entry)),
    chosen,
    missing: asked?.program === undefined ? asked : undefined,
    waitsForEver: settings.get('timeout') === 'menu-force',
  };
}

async function readType1(
  file: BootFile,
  volume: BootVolume,
  architecture: string,
): Promise<SystemdBootEntry | undefined> {
  const found = loaderLines(await file.text());
  const all = (key: string): string[] => found.flatMap(([name, value]) => (name === key ? [value] : []));
  const first = (key: string): string => all(key)[0] ?? '';
  const wanted = first('architecture');
  // An entry for another architecture is not in the menu.
  if (wanted !== '' && wanted.toLowerCase() !== architecture) return undefined;
  const linux = first('linux') || first('efi') || first('uki');
  return {
    ...{ loader: 'systemd-boot', file: file.path, partition: volume.partition, isDefault: false, volume },
    ...identify(file.path),
    ...{ title: first('title'), version: first('version'), linux, initrd: all('initrd') },
    options: all('options').join(' '),
    ...{ sortKey: first('sort-key'), machineId: first('machine-id'), program: volume.file(linux) },
  };
}

/** Reads the entry that a unified kernel image contains. */
export async function readType2(file: BootFile, volume: BootVolume): Promise<SystemdBootEntry | undefined> {
  const pe = await file.pe();
  const release = pe === undefined ? undefined : await readSection(file.read, pe, '.osrel');
  const field = (name: string): string =>
    new RegExp(`^${name}=["']?([^"'\\n]*)`, 'm').exec(release ?? '')?.[1]?.trim() ?? '';
  const isUnified = pe?.sections.has('.linux') === true;
  return {
    ...{ loader: 'systemd-boot', file: file.path, partition: volume.partition, isDefault: false, volume },
    ...identify(file.path),
    title: field('PRETTY_NAME'),
    version: field('IMAGE_VERSION') || field('VERSION') || field('VERSION_ID') || field('BUILD_ID'),
    linux: file.path,
    initrd: [],
    options: (pe === undefined ? undefined : await readSection(file.read, pe, '.cmdline'))?.trim() ?? '',
    ...{ sortKey: field('IMAGE_ID') || field('ID'), machineId: '' },
    // systemd-boot omits files that are not unified kernel images.
    program: isUnified ? file : undefined,
  };
}

/** Parses a file name with a boot counter: in `nixos-generation-1+3-0.conf`, three attempts are left and none was made.
 *  @see The Boot Loader Specification, "Boot counting" */
function identify(path: string): { readonly id: string; readonly isExhausted: boolean } {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase();
  const [, stem, left, suffix] = /^(.*)\+(\d+)(?:-\d+)?(\.[a-z]+)$/.exec(name) ?? [];
  return stem === undefined
    ? { id: name, isExhausted: false }
    : { id: `${stem}${suffix}`, isExhausted: Number(left) === 0 };
}

/** Matches a glob of loader.conf: `*`, `?` and `[…]`. Older versions match names without the suffix. */
function matches(pattern: string, id: string): boolean {
  const source = pattern
    .toLowerCase()
    .slice(0, 255)
    .replace(/[\\^$.|+(){}]/g, '\\$&')
    // Repeated stars are equivalent to one, and would cause catastrophic backtracking.
    .replace(/\*+/g, '.*')
    .replaceAll('?', '.')
    .replace(/\[!/g, '[^');
  try {
    const glob = new RegExp(`^${source}$`);
    return glob.test(id) || glob.test(id.replace(/\.(?:conf|efi)$/, ''));
  } catch {
    return false;
  }
}

/** Compares entries by their order in the menu: those with a sort key first, sorted by it; newer versions before older
 *  ones. */
function compareEntries(a: SystemdBootEntry, b: SystemdBootEntry): number {
  const byText = (x: string, y: string): number => (x < y ? -1 : x > y ? 1 : 0);
  const sorted = Number(a.isExhausted) - Number(b.isExhausted) || Number(a.sortKey === '') - Number(b.sortKey === '');
  if (sorted !== 0) return sorted;
  const byKey =
    a.sortKey === ''
      ? 0
      : byText(a.sortKey, b.sortKey) || byText(a.machineId, b.machineId) || -compareVersions(a.version, b.version);
  return byKey || -compareVersions(a.id, b.id);
}

/** Compares versions like systemd-boot: numbers by value, `~` before everything, letters by code.
 *  @see The UAPI group's Version Format Specification */
export function compareVersions(a: string, b: string): number {
  const words = (text: string): string[] => text.slice(0, 200).match(/\d+|[a-zA-Z]+|[~\-^.]/g) ?? [];
  const [x, y] = [words(a), words(b)];
  const rank = (word: string | undefined): number => {
    if (word === undefined) return 1;
    const place = ['~', '', '-', '^', '.'].indexOf(word);
    return place >= 0 ? place : /^\d/.test(word) ? 6 : 5;
  };
  for (let index = 0; index < Math.max(x.length, y.length); index += 1) {
    const [left, right] = [x[index], y[index]];
    if (left === right) continue;
    const [leftRank, rightRank] = [rank(left), rank(right)];
    if (leftRank !== rightRank) return leftRank < rightRank ? -1 : 1;
    if (leftRank === 6) {
      const [small, large] = [(left ?? '').replace(/^0+/, ''), (right ?? '').replace(/^0+/, '')];
      if (small.length !== large.length) return small.length < large.length ? -1 : 1;
      if (small !== large) return small < large ? -1 : 1;
    } else return (left ?? '') < (right ?? '') ? -1 : 1;
  }
  return 0;
}
