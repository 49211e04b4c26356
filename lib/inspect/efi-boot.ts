import { bzImageBytes, EFI_ARCHITECTURES, type EfiProgram, readSection } from '../formats/efi-program.ts';
import { isFatType } from '../formats/partition-table/types.ts';
import type { ProgramSignature } from '../formats/secure-boot/authenticode.ts';
import type { SecureBootKeys, Trust } from '../formats/secure-boot/trust.ts';
import { type BootFile, type BootVolume, readBootVolume } from './boot-volume.ts';
import type { Budget } from './budget.ts';
import { type Finding, fewOfEach, finding } from './finding.ts';
import { type GrubMenu, grubPrefix, readGrubMenus } from './grub-menu.ts';
import type { ImageReader } from './image-reader.ts';
import type { InspectedPartition } from './inspected-partition.ts';
import type { LoaderEntry } from './loader-entry.ts';
import type { FoundTable } from './partition-tables.ts';
import { refusal, trustIn } from './secure-boot.ts';
import { readSystemdBoot, readType2, type SystemdBootMenu } from './systemd-boot.ts';

/** The kernel parameter for a serial console on each architecture, by its name in EFI file names. */
const SERIAL_CONSOLE = { x64: /(^|\s)console=ttyS\d/, aa64: /(^|\s)console=ttyAMA\d/ } as const;
export type EfiArchitecture = keyof typeof SERIAL_CONSOLE;

/** An EFI program, its signatures, and whether firmware with Secure Boot would start it. */
export interface InspectedProgram extends EfiProgram {
  readonly signatures: readonly Omit<ProgramSignature, 'certificates'>[];
  /** By the keys in a store of EFI variables; undefined where none was given. */
  readonly trust?: Trust | undefined;
}

/** How EFI firmware boots the image. */
export interface EfiBoot {
  /** The architecture of the firmware: the requested one, or otherwise one for which there is a loader, x64 first. */
  readonly architecture: EfiArchitecture;
  /** Architectures with a loader at the removable media path: x64, aa64 … */
  readonly architectures: readonly string[];
  /** Paths of the EFI programs in \EFI that are not kernels. */
  readonly loaders: readonly string[];
  /** The path of the program that firmware starts on a machine without boot entries; undefined when there is none. */
  readonly started: string | undefined;
  /** All EFI programs in files named .efi. */
  readonly programs: readonly InspectedProgram[];
  readonly bootEntries: readonly LoaderEntry[];
  /** @deprecated Use `bootEntries`. */
  readonly entries: readonly LoaderEntry[];
  /** Whether the default entry has a serial console in its kernel parameters, or any entry if the default is unknown;
   *  undefined without entries. */
  readonly serialConsole: boolean | undefined;
  readonly findings: readonly Finding[];
}

/** The limit of boot partitions. */
const MOST_VOLUMES = 16;
const MOST_PROGRAMS = 200;
const GZIP = 0x1f8b;
/** A seed that systemd-boot passes to the system. @see bootctl(1), "random-seed" */
const RANDOM_SEED = 'loader/random-seed';

/** Follows the boot of EFI firmware on a machine without boot entries, through the loader to the kernel. Problems of
 *  files that are not started are only warnings.
 *  @param partitions with their filesystems; for a disk without a partition table, the disk as number 0.
 *  @param wanted the architecture of the firmware that will boot it, and its Secure Boot keys. */
export async function readEfiBoot(
  image: ImageReader,
  budget: Budget,
  { table, sectorBytes }: FoundTable,
  partitions: readonly InspectedPartition[],
  biosStartsGrub: boolean,
  {
    architecture: wanted,
    keys,
  }: { readonly architecture: EfiArchitecture | undefined; readonly keys: SecureBootKeys | undefined },
): Promise<EfiBoot> {
  const findings: Finding[] = [];
  const say: Say = (name, severity, stage, message, firmware = 'efi') => {
    findings.push(finding(name, severity, stage, message, firmware === 'both' ? undefined : firmware));
  };
  const { volumes, unreadable, hasEsp, isCut } = await findVolumes(image, budget, table, partitions);
  if (!hasEsp) say('no-esp', 'error', 'firmware', 'no partition has the type of an EFI system partition (ESP)');
  const esps = volumes.filter(({ isEsp }) => isEsp).map(({ volume }) => volume);
  for (const { number, isEsp } of unreadable)
    say(
      ...(['esp-unreadable', esps.length === 0 && isEsp ? 'fatal' : 'warning', 'firmware'] as const),
      `partition ${number} has the type of an ${isEsp ? 'ESP' : 'XBOOTLDR'}, but contains no FAT filesystem`,
    );
  for (const { volume } of volumes)
    for (const damage of volume.damage.slice(0, 3))
      say('fat-damaged', 'warning', 'firmware', `partition ${volume.partition}: ${damage}`, 'both');
  const all = volumes.map(({ volume }) => volume);
  for (const volume of all)
    if (volume.file(RANDOM_SEED) !== undefined)
      say(
        ...(['random-seed-shared', 'warning', 'loader'] as const),
        `partition ${volume.partition} has /${RANDOM_SEED}: every machine of this image starts from the same seed`,
      );
  const removable = esps.flatMap(removableLoaders);
  const architectures = [...new Set(removable.map(({ architecture }) => architecture))];
  const architecture = wanted ?? (architectures.includes('aa64') && !architectures.includes('x64') ? 'aa64' : 'x64');
  const first = await startedByFirmware(removable, architecture, say);
  if (first === undefined && esps.length > 0 && !architectures.includes(architecture)) {
    const others = architectures.length > 0 ? `; it has one for ${architectures.join(', ')}` : '';
    say(
      ...(['no-loader', isCut ? 'warning' : 'fatal', 'firmware'] as const),
      `the ESP has no \\EFI\\BOOT\\BOOT${architecture.toUpperCase()}.EFI, which firmware starts on a new machine${others}`,
    );
  }
  const started = first === undefined ? undefined : await behindShim(first, architecture, say);
  const program = await started?.file.program();
  const isBlind = sectorBytes === 4096 && program?.kind === 'systemd-boot' && (await readsNoExtended(started?.file));
  const menus = await bootMenus(budget, volumes, started?.volume, architecture, isBlind);
  if (isBlind && volumes.some(({ isEsp }) => !isEsp))
    say(
      ...(['xbootldr-not-read', menus.systemdBoot.chosen === undefined ? 'fatal' : 'warning', 'loader'] as const),
      `systemd-boot before version ${READS_EXTENDED} finds no XBOOTLDR partition on a disk with sectors of 4096 bytes`,
    );
  const entries = await judgeMenus(menus, started, program?.kind, biosStartsGrub, architecture, say);
  if (keys !== undefined && !keys.isSetupMode && first !== undefined)
    await judgeSecureBoot(first, menus.systemdBoot.chosen?.program, keys, budget, say);
  const programs = await listPrograms(budget, all, keys, say);
  const loaders = programs
    .filter(({ file, kind }) => /^EFI\//i.test(file) && kind !== 'kernel')
    .map(({ file }) => file);
  const known = entries.filter(({ isDefault }) => isDefault);
  const parameters = (known.length > 0 ? known : entries).map(({ options }) => options);
  return {
    ...{ architecture, architectures, loaders, started: first?.file.path, programs, bootEntries: entries, entries },
    serialConsole:
      parameters.length === 0 ? undefined : parameters.some((options) => SERIAL_CONSOLE[architecture].test(options)),
    findings: fewOfEach(findings),
  };
}

type Say = (
  name: string,
  severity: Finding['severity'],
  stage: Finding['stage'],
  message: string,
  /** The firmware that it affects; default "efi". */
  firmware?: 'bios' | 'efi' | 'both',
) => void;

interface Started {
  readonly file: BootFile;
  readonly volume: BootVolume;
}

interface FoundVolumes {
  readonly volumes: readonly { readonly volume: BootVolume; readonly isEsp: boolean }[];
  readonly unreadable: readonly { readonly number: number; readonly isEsp: boolean }[];
  readonly hasEsp: boolean;
  readonly isCut: boolean;
}

/** Finds ESPs and extended boot loader partitions, and also FATs of other types that contain \EFI\BOOT: firmware starts
 *  loaders from any FAT on an MBR disk, and from a FAT that is the whole disk. */
async function findVolumes(
  image: ImageReader,
  budget: Budget,
  table: FoundTable['table'],
  partitions: readonly InspectedPartition[],
): Promise<FoundVolumes> {
  const volumes: { readonly volume: BootVolume; readonly isEsp: boolean }[] = [];
  const unreadable: { readonly number: number; readonly isEsp: boolean }[] = [];
  let hasEsp = false;
  const candidates = partitions.filter(
    ({ purpose, type, filesystem }) =>
      purpose === 'esp' ||
      purpose === 'xbootldr' ||
      (filesystem?.type === 'vfat' && (table === 'none' || (table === 'msdos' && isFatType(type)))),
  );
  if (candidates.length > MOST_VOLUMES)
    budget.leaveOut(`boot partitions beyond the first ${MOST_VOLUMES} of ${candidates.length}`);
  for (const part of candidates.slice(0, MOST_VOLUMES)) {
    const { number, purpose } = part;
    const hasType = purpose === 'esp' || purpose === 'xbootldr';
    hasEsp ||= purpose === 'esp';
    const volume = await budget.part<BootVolume | undefined | 'left out'>(
      `the files of partition ${number}`,
      'left out',
      () => readBootVolume(image, budget, part),
    );
    if (volume === 'left out') continue;
    if (volume === undefined) {
      // GRUB can read an extended boot loader partition with another filesystem.
      if (purpose === 'esp' || (hasType && part.filesystem === undefined))
        unreadable.push({ number, isEsp: purpose === 'esp' });
      continue;
    }
    const isLikeEsp = !hasType && [...volume.files.keys()].some((key) => key.startsWith('efi/boot/'));
    hasEsp ||= isLikeEsp;
    volumes.push({ volume, isEsp: purpose === 'esp' || isLikeEsp });
  }
  return { volumes, unreadable, hasEsp, isCut: candidates.length > MOST_VOLUMES || budget.leftOut.length > 0 };
}

/** The files that firmware of any architecture would start: \EFI\BOOT\BOOTX64.EFI, but not BOOTX64_OLD.EFI. */
function removableLoaders(volume: BootVolume): (Started & { readonly architecture: string })[] {
  return [...volume.files.keys()].flatMap((key) => {
    const [, architecture = ''] = /^efi\/boot\/boot([a-z0-9]+)\.efi$/.exec(key) ?? [];
    const file = EFI_ARCHITECTURES.has(architecture) ? volume.file(key) : undefined;
    return file === undefined ? [] : [{ file, volume, architecture }];
  });
}

/** Finds the first loader that firmware can load: it tries one ESP after another. */
async function startedByFirmware(
  removable: readonly (Started & { readonly architecture: string })[],
  architecture: string,
  say: Say,
): Promise<Started | undefined> {
  const broken: { readonly name: string; readonly message: string }[] = [];
  let started: Started | undefined;
  for (const at of removable) {
    const { file } = at;
    const wrong = await wrongProgram(file, at.architecture);
    if (at.architecture !== architecture) {
      if (wrong !== undefined)
        say(wrong.name, 'warning', 'firmware', `${wrong.message}; it is for another architecture`);
    } else if (wrong === undefined) started ??= at;
    else if (started === undefined) broken.push(wrong);
    else say(wrong.name, 'warning', 'firmware', `${wrong.message}; it is not started`);
  }
  for (const { name, message } of broken)
    if (started === undefined) say(name, 'fatal', 'firmware', message);
    else
      say(
        ...([name, 'warning', 'firmware'] as const),
        `${message}; firmware continues with partition ${started.volume.partition}`,
      );
  return started;
}

/** Describes why firmware cannot start a program; undefined when it can. */
async function wrongProgram(
  file: BootFile,
  architecture: string,
): Promise<{ readonly name: string; readonly message: string } | undefined> {
  const pe = await file.pe();
  if (pe === undefined) return { name: 'loader-damaged', message: `${file.path} is not an EFI program` };
  if (pe.architecture !== architecture)
    return { name: 'loader-damaged', message: `${file.path} is an EFI program for ${pe.architecture}` };
  const shortfall = await file.shortfall();
  return shortfall === undefined
    ? undefined
    : { name: 'loader-cut', message: `${file.path} ${shortfall}: it is cut off` };
}

/** Finds the loader that shim starts: grubx64.efi beside it, or, from the removable media path, the one in a directory
 *  with a BOOTX64.CSV. @see shim's README.fallback */
async function behindShim(first: Started, architecture: string, say: Say): Promise<Started> {
  if ((await first.file.program())?.kind !== 'shim') return first;
  const { volume } = first;
  const csv = `boot${architecture}.csv`;
  const directories = [
    'efi/boot',
    ...[...volume.files.keys()].filter((key) => key.endsWith(`/${csv}`)).map((key) => key.slice(0, -csv.length - 1)),
  ];
  for (const directory of directories) {
    const file = volume.file(`${directory}/grub${architecture}.efi`);
    if (file === undefined) continue;
    const wrong = await wrongProgram(file, architecture);
    if (wrong !== undefined) say(wrong.name, 'fatal', 'loader', `${wrong.message}, but shim starts it`);
    return { file, volume };
  }
  say(
    'no-loader',
    'fatal',
    'loader',
    `${first.file.path} is shim, but there is no grub${architecture}.efi for it to start`,
  );
  return first;
}

interface Menus {
  readonly systemdBoot: SystemdBootMenu;
  readonly grub: readonly (GrubMenu & { readonly volume: BootVolume })[];
}

/** From this version on, systemd-boot finds an XBOOTLDR partition on disks with sectors of any size. @see systemd issue
 *  32535 */
const READS_EXTENDED = 258;

async function readsNoExtended(systemdBoot: BootFile | undefined): Promise<boolean> {
  const pe = await systemdBoot?.pe();
  const magic =
    systemdBoot === undefined || pe === undefined ? '' : await readSection(systemdBoot.read, pe, '.sdmagic');
  const version = /systemd-boot (\d+)/.exec(magic ?? '')?.[1];
  return version !== undefined && Number(version) < READS_EXTENDED;
}

async function bootMenus(
  budget: Budget,
  found: readonly { readonly volume: BootVolume; readonly isEsp: boolean }[],
  own: BootVolume | undefined,
  architecture: string,
  readsNoExtended: boolean,
): Promise<Menus> {
  const volumes = found.map(({ volume }) => volume);
  const [beside] = volumes;
  // systemd-boot reads entries from its own ESP and from XBOOTLDR partitions, and from no other ESP.
  const extended = readsNoExtended ? [] : found.filter(({ isEsp }) => !isEsp).map(({ volume }) => volume);
  const nothing: SystemdBootMenu = { entries: [], chosen: undefined, missing: undefined, waitsForEver: false };
  const first = own ?? beside;
  const systemdBoot =
    first === undefined
      ? nothing
      : await budget.part("systemd-boot's entries", nothing, () =>
          readSystemdBoot(budget, first, extended, architecture),
        );
  const grub: (GrubMenu & { readonly volume: BootVolume })[] = [];
  for (const volume of volumes) {
    const menus = await budget.part(`grub.cfg on partition ${volume.partition}`, [], () =>
      readGrubMenus(budget, volume),
    );
    grub.push(...menus.map((menu) => ({ ...menu, volume })));
  }
  return { systemdBoot, grub };
}

/** Reports problems of the entries, and returns all of them. Only entries of the loader that is started can be the
 *  default. */
async function judgeMenus(
  { systemdBoot, grub }: Menus,
  started: Started | undefined,
  kind: EfiProgram['kind'] | undefined,
  biosStartsGrub: boolean,
  architecture: string,
  say: Say,
): Promise<LoaderEntry[]> {
  const notStarted = <T extends LoaderEntry>(entry: T): T => ({ ...entry, isDefault: false });
  const plain = ({ loader, file, partition, title, version, linux, initrd, options, isDefault }: LoaderEntry) => ({
    ...{ loader, file, partition, title, version, linux, initrd, options, isDefault },
  });
  const entries: LoaderEntry[] = [];
  if ((kind === 'uki' || kind === 'kernel') && started !== undefined) {
    const unified = kind === 'uki' ? await readType2(started.file, started.volume) : undefined;
    if (unified !== undefined) entries.push({ ...unified, loader: 'firmware', isDefault: true });
    if (kind === 'uki') await judgeUnified(started.file, architecture, say);
  }
  if (kind === 'systemd-boot') await judgeSystemdBoot(systemdBoot, architecture, say);
  const isSystemdBoot = kind === 'systemd-boot';
  entries.push(...systemdBoot.entries.map((entry) => (isSystemdBoot ? entry : notStarted(entry))));
  const withEntries = grub.filter((menu) => menu.entries.length > 0);
  const ofEfi = kind === 'grub' && started !== undefined ? await grubMenuOf(started, grub) : undefined;
  // How GRUB for BIOS finds grub.cfg is unknown, so the default is known only if there is a single grub.cfg.
  const ofBios = biosStartsGrub && withEntries.length === 1 ? withEntries[0] : undefined;
  for (const menu of withEntries) {
    const by = [...(menu === ofEfi ? (['efi'] as const) : []), ...(menu === ofBios ? (['bios'] as const) : [])];
    const firmware = by.length === 2 ? 'both' : by[0];
    entries.push(...menu.entries.map((entry) => (by.length > 0 ? entry : notStarted(entry))));
    if (by.length > 0 && menu.waitsForEver)
      say(
        'menu-waits',
        'error',
        'loader',
        `${menu.file} sets a timeout of -1: the menu waits forever for a key`,
        firmware,
      );
    for (const entry of menu.entries) {
      const isStarted = by.length > 0 && entry.isDefault;
      const kernel = entry.linux === '' ? undefined : menu.volume.file(entry.linux);
      // GRUB may read the kernel from another partition, so a missing file is not reported.
      if (kernel !== undefined)
        await judgeKernel(
          entry.file,
          kernel,
          undefined,
          isStarted ? 'fatal' : 'warning',
          (name, severity, stage, message) => say(name, severity, stage, message, firmware),
        );
    }
  }
  return uniqueEntries(entries.map(plain));
}

function uniqueEntries(entries: readonly LoaderEntry[]): LoaderEntry[] {
  const seen = new Set<string>();
  return entries.filter(({ file, partition, loader, title, linux }) => {
    // A UKI that firmware starts may also be an entry of systemd-boot.
    const key = loader === 'grub' ? undefined : `${partition} ${file} ${title} ${linux}`;
    if (key === undefined) return true;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** The menu that GRUB reads: in the directory that is stored in its core image, or otherwise the only menu. */
async function grubMenuOf({ file, volume }: Started, menus: readonly (GrubMenu & { readonly volume: BootVolume })[]) {
  const prefix = await grubPrefix(file);
  if (prefix === undefined) {
    const withEntries = menus.filter((menu) => menu.entries.length > 0);
    return withEntries.length === 1 ? withEntries[0] : undefined;
  }
  const [, device, directory = ''] = /^(?:\(([^)]*)\))?(.*)$/.exec(prefix) ?? [];
  const [, number] = /,(?:gpt|msdos)?(\d+)$/.exec(device ?? '') ?? [];
  const partition = device === undefined ? volume.partition : number === undefined ? undefined : Number(number);
  const path = `${directory}/grub.cfg`.replace(/^\/+/, '').toLowerCase();
  return menus.find(
    (menu) => menu.file.toLowerCase() === path && (partition === undefined || menu.partition === partition),
  );
}

async function judgeSystemdBoot(menu: SystemdBootMenu, architecture: string, say: Say): Promise<void> {
  const { chosen, entries, missing } = menu;
  if (entries.length === 0)
    say('no-entries', 'fatal', 'loader', 'systemd-boot is installed, but loader/entries has no entry for it to start');
  for (const entry of entries) {
    const isChosen = entry === chosen || (entry.file === chosen?.file && entry.partition === chosen.partition);
    // If it can start no entry, the problem is the one that it would have started first.
    const isToBlame = isChosen || (chosen === undefined && entry === (missing ?? entries[0]));
    const where = (path: string): string => `${entry.file} names ${path}, which is not on partition ${entry.partition}`;
    if (entry.program === undefined) {
      const message =
        entry.linux === '' || entry.linux === entry.file
          ? `${entry.file} has no kernel for systemd-boot to start`
          : where(entry.linux);
      if (isToBlame) say('entry-file-missing', 'fatal', 'loader', message);
      else if (entry === missing)
        say('entry-file-missing', 'error', 'loader', `${message}: systemd-boot starts ${chosen?.file} instead`);
      else say('entry-file-missing', 'warning', 'loader', `${message}; it is not started`);
      continue;
    }
    const severity = isToBlame ? 'fatal' : 'warning';
    for (const path of entry.initrd)
      if (entry.volume.file(path) === undefined) say('entry-file-missing', severity, 'loader', where(path));
    await judgeKernel(entry.file, entry.program, architecture, severity, say);
  }
  if (menu.waitsForEver)
    say('menu-waits', 'error', 'loader', 'loader.conf has timeout menu-force: the menu waits forever for a key');
}

/** Reports a kernel that is damaged, cut off, or for another architecture. Only its header is read. */
async function judgeKernel(
  entry: string,
  file: BootFile,
  architecture: string | undefined,
  severity: 'fatal' | 'warning',
  say: Say,
): Promise<void> {
  const pe = await file.pe();
  const head = await file.read(0, 0x210);
  const isBzImage = bzImageBytes(head) !== undefined;
  const shortfall = await file.shortfall();
  // GRUB also starts a bzImage without an EFI stub, and decompresses a gzipped kernel.
  const forGrub = architecture === undefined;
  if (forGrub && pe === undefined && head.length >= 2 && head.readUInt16BE(0) === GZIP) return;
  if (pe === undefined && !(forGrub && isBzImage)) {
    const what = isBzImage ? 'a kernel without an EFI stub' : 'not a kernel';
    say('kernel-damaged', severity, 'loader', `${file.path}, which ${entry} starts, is ${what}`);
  } else if (shortfall !== undefined)
    say('kernel-cut', severity, 'loader', `${file.path} ${shortfall}: the kernel is cut off`);
  else if (!forGrub && pe !== undefined && pe.architecture !== architecture)
    say(
      ...(['kernel-wrong-architecture', severity, 'loader'] as const),
      `${file.path}, which ${entry} starts, is a kernel for ${pe.architecture}, but the machine is ${architecture}`,
    );
}

/** Reports a damaged kernel in a unified kernel image, which has already been checked for completeness. */
async function judgeUnified(file: BootFile, architecture: string, say: Say): Promise<void> {
  const section = (await file.pe())?.sections.get('.linux');
  if (section === undefined) return;
  const head = await file.read(section.offset, 0x210);
  const isKernel = head.toString('latin1', 0, 2) === 'MZ' || bzImageBytes(head) !== undefined;
  if (!isKernel)
    say('kernel-damaged', 'fatal', 'loader', `the .linux section of ${file.path} is not a kernel for ${architecture}`);
}

/** What firmware with Secure Boot starts, and what systemd-boot has it start. What shim starts is verified by its own keys. */
async function judgeSecureBoot(
  { file }: Started,
  kernel: BootFile | undefined,
  keys: SecureBootKeys,
  budget: Budget,
  say: Say,
): Promise<void> {
  const judge = async (program: BootFile, stage: Finding['stage']): Promise<void> => {
    const refused = await refusal(program, await trustIn(program, keys, budget), keys);
    if (refused !== undefined) say(refused.code, 'fatal', stage, refused.message);
  };
  await judge(file, 'firmware');
  if ((await file.program())?.kind !== 'systemd-boot' || kernel === undefined) return;
  await judge(kernel, 'loader');
  if ((await kernel.program())?.kind === 'kernel')
    say(
      ...(['initrd-not-verified', 'warning', 'loader'] as const),
      `${kernel.path} is a separate kernel: Secure Boot does not verify its initrd and its command line`,
    );
}

async function listPrograms(
  budget: Budget,
  volumes: readonly BootVolume[],
  keys: SecureBootKeys | undefined,
  say: Say,
): Promise<InspectedProgram[]> {
  const programs: InspectedProgram[] = [];
  const check = (): void => budget.check();
  await budget.part('EFI programs', undefined, async () => {
    for (const volume of volumes)
      for (const key of volume.files.keys()) {
        if (!key.endsWith('.efi')) continue;
        if (programs.length >= MOST_PROGRAMS) {
          budget.leaveOut(`EFI programs beyond the first ${MOST_PROGRAMS}`);
          return;
        }
        budget.check();
        const file = volume.file(key);
        const program = await file?.program();
        if (file === undefined || program === undefined) continue;
        const signatures = (await file.signatures(check)).map(({ certificates, ...signature }) => signature);
        const trust = keys === undefined ? undefined : await trustIn(file, keys, budget);
        programs.push({ ...program, signatures, ...(trust === undefined ? {} : { trust }) });
        const changed = signatures.length > 0 && !signatures.some((one) => one.hashMatches && one.isAuthentic);
        if (changed && keys === undefined)
          say(
            ...(['signature-invalid', 'warning', 'firmware'] as const),
            `${program.file} was changed after ${signatures[0]?.signer} signed it: Secure Boot would refuse it`,
          );
      }
  });
  return programs;
}
