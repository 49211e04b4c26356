import { readFile, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { z } from 'zod';
import { gptSpace } from '../formats/partition-table/gpt.ts';
import { gptTypeGuid } from '../formats/partition-table/types.ts';
import { wordsFor } from '../run/errno.ts';
import { InvalidOptionsError, type OptionIssue } from '../run/errors.ts';
import { formatBytes, KIB, MIB, parseIecSize, roundDown, roundUp, SECTOR_BYTES } from '../units.ts';
import { guid, mebibytes } from './fields.ts';
import type { partitionsSpec } from './partitions-spec.ts';

/** A disk as disko describes it, as entries of `partitions`. @see the manual of disko, lib/types/gpt.nix there */

const STEP = 'readDisko';

export interface ReadDiskoOptions {
  /** The evaluated `disko.devices` as JSON, which `nix/disko.nix` makes. */
  readonly file: string;
  /** The size of the disk, as in an image specification; default: `imageSize`, which disko presets with "2G". */
  readonly diskSize?: string | number | undefined;
  /** A file with the passphrase of an encrypted root; default: its `passwordFile`. */
  readonly passphraseFile?: string | undefined;
}

type PartitionInput = z.input<typeof partitionsSpec>[number];

export interface DiskoDisk {
  readonly partitions: PartitionInput[];
  /** In MiB. */
  readonly diskSize: number;
  /** Only with an encrypted root. */
  readonly encrypt?: { readonly name: string; readonly passphraseFile: string; readonly morePassphraseFiles: string[] };
}

const LARGEST_FILE = 16 * MIB;
/** sgdisk begins partitions at multiples of this. */
const ALIGNMENT_BYTES = MIB;
const GRAIN_BYTES = 4 * KIB;

/** Short codes of sgdisk. @see sgdisk --list-types */
const TYPE_CODES: Readonly<Record<string, string>> = {
  ...{ '0700': 'microsoft-basic-data', '8200': 'swap', '8300': 'linux-generic', '8302': 'home', '8303': 'root-x86' },
  ...{ '8304': 'root-x86-64', '8305': 'root-arm64', '8306': 'srv', '8307': 'root-arm', '8309': 'linux-luks' },
  ...{ '8310': 'var', '8311': 'tmp', '8312': 'user-home', '8313': 'usr-x86', '8314': 'usr-x86-64' },
  ...{ '8E00': 'linux-lvm', EA00: 'xbootldr', EF00: 'esp', EF02: 'bios-boot', FD00: 'linux-raid' },
};

const node = z.record(z.string(), z.unknown());
type Node = z.output<typeof node>;

/** Reads the one disk of a disko configuration, with the sizes and places that disko's calls of sgdisk give.
 *  @throws {InvalidOptionsError} which names each setting that is wrong, or that an image cannot be given: hooks, LUKS of another partition
 *  than the root, LVM, RAID, ZFS, subvolumes, options of mkfs other than a label, a hybrid MBR, several disks. */
export async function readDisko({ file, diskSize: given, passphraseFile }: ReadDiskoOptions): Promise<DiskoDisk> {
  const devices = await readJson(file);
  const issues: OptionIssue[] = [];
  const wrong = (path: string, message: string): void => {
    issues.push({ path, message });
  };
  for (const kind of ['mdadm', 'lvm_vg', 'zpool', 'bcachefs_filesystems'])
    for (const name of Object.keys(asNode(devices[kind])))
      wrong(`${kind}.${name}`, 'is not supported: it needs a kernel that sets it up');
  const disks = Object.entries(asNode(devices.disk));
  if (disks.length > 1) wrong('disk', `has ${disks.length} disks; an image is one`);
  const [name = '', disk] = disks[0] ?? [];
  if (disk === undefined) throw new InvalidOptionsError(STEP, [{ path: 'disk', message: 'has no disk' }]);
  const at = `disk.${name}`;
  const top = asNode(disk);
  refuseHooks(top, at, wrong);
  const content = asNode(top.content);
  if (content.type !== 'gpt') {
    wrong(`${at}.content.type`, `${shown(content.type)} is not supported; use "gpt"`);
    throw new InvalidOptionsError(STEP, issues);
  }
  refuseHooks(content, `${at}.content`, wrong);
  const size = mebibytes.safeParse(given ?? top.imageSize ?? '2G');
  if (!size.success)
    wrong(given === undefined ? `${at}.imageSize` : 'diskSize', `${shown(given ?? top.imageSize)} is not a size`);
  const diskSize = size.data ?? 0;
  const partitions = size.success ? placed(content, `${at}.content.partitions`, diskSize * MIB, wrong) : [];
  const encrypt = encryptedRoot(content, `${at}.content.partitions`, passphraseFile, wrong);
  if (issues.length > 0)
    throw new InvalidOptionsError(STEP, issues, { hint: 'docs/layouts.md lists what is taken from disko' });
  return { partitions, diskSize, ...encrypt };
}

/** The encrypted root, if there is one. */
function encryptedRoot(
  content: Node,
  at: string,
  passphraseFile: string | undefined,
  wrong: Wrong,
): Partial<DiskoDisk> {
  const all = Object.entries(asNode(content.partitions))
    .map(([key, value]) => ({ path: `${at}.${key}.content`, luks: asNode(asNode(value).content) }))
    .filter(({ luks }) => luks.type === 'luks');
  const [first] = all;
  if (first === undefined) return {};
  const { path, luks } = first;
  const more = z.array(z.string()).safeParse(luks.additionalKeyFiles ?? []);
  if (!more.success) wrong(`${path}.additionalKeyFiles`, `${shown(luks.additionalKeyFiles)} are not files`);
  const given = passphraseFile ?? (typeof luks.passwordFile === 'string' ? luks.passwordFile : undefined);
  if (given === undefined) wrong(path, 'needs a passphrase: set passphraseFile in encrypt');
  if (typeof luks.name !== 'string') wrong(`${path}.name`, `${shown(luks.name)} is not a name`);
  return { encrypt: { name: `${luks.name}`, passphraseFile: given ?? '', morePassphraseFiles: more.data ?? [] } };
}

type Wrong = (path: string, message: string) => void;

async function readJson(file: string): Promise<Node> {
  const refuse = (message: string): never => {
    throw new InvalidOptionsError(STEP, [{ path: 'file', message }], {
      hint: 'make it by nix eval --json, as docs/layouts.md shows',
    });
  };
  const facts = await stat(file).catch((error: unknown) => refuse(`${file} cannot be read: ${wordsFor(error)}`));
  if (!facts.isFile() || facts.size > LARGEST_FILE) return refuse(`${file} is not a JSON file`);
  const text = await readFile(file, 'utf8').catch((error: unknown) =>
    refuse(`${file} cannot be read: ${wordsFor(error)}`),
  );
  try {
    const value = node.parse(JSON.parse(text));
    // Of a whole configuration, or of `disko.devices` alone.
    return asNode(asNode(value.disko).devices ?? value.devices ?? value);
  } catch {
    return refuse(`${file} is not a JSON object`);
  }
}

/** Puts the partitions where `sgdisk --align-end --new=NUMBER:START:END` does, one after another. */
function placed(content: Node, at: string, diskBytes: number, wrong: Wrong): PartitionInput[] {
  const sorted = Object.entries(asNode(content.partitions))
    .map(([key, value]) => ({ key, one: asNode(value) }))
    .sort((a, b) => priorityOf(a.one) - priorityOf(b.one) || (a.key < b.key ? -1 : 1));
  const { startBytes, endBytes } = gptSpace(diskBytes, SECTOR_BYTES);
  const entries: PartitionInput[] = [];
  let [free, before] = [startBytes, startBytes];
  for (const { key, one } of sorted) {
    const path = `${at}.${key}`;
    const input = partitionOf(one, path, wrong);
    const start = startOf(one, free, path, wrong);
    const end = start === undefined ? undefined : endOf(one, start, endBytes, path, wrong);
    if (start === undefined || end === undefined) continue;
    const last = entries.at(-1);
    if (last === undefined && start > startBytes)
      wrong(`${path}.start`, 'must be at most "1M" for the first partition');
    if (end.bytes <= start || end.bytes > endBytes) {
      wrong(`${path}.size`, `has no room on a disk of ${formatBytes(diskBytes)}`);
      continue;
    }
    if (last !== undefined && start > before) last.padding = { size: start - before };
    // Its place is computed here; nothing is left to share.
    entries.push({ ...input, size: end.bytes - start, weight: 0, alignment: GRAIN_BYTES });
    before = end.bytes;
    free = roundUp(end.nextFree, ALIGNMENT_BYTES);
  }
  return entries;
}

/** Where a partition begins, in bytes. @see sgdisk(8), --new */
function startOf(one: Node, free: number, path: string, wrong: Wrong): number | undefined {
  const given = typeof one.start === 'string' ? one.start : '0';
  if (given === '0') return free;
  const [, sign, number = ''] = /^(\+?)(\d+[KMGTP])$/.exec(given) ?? [];
  const bytes = parseIecSize(number);
  const start = bytes === undefined ? undefined : roundUp((sign === '+' ? free : 0) + bytes, ALIGNMENT_BYTES);
  if (start !== undefined && start >= free) return start;
  wrong(
    `${path}.start`,
    start === undefined
      ? `${shown(given)} is not supported; use "0", or a size such as "1M"`
      : `${shown(given)} is in another partition, or before the first MiB`,
  );
  return undefined;
}

/** Where a partition ends, and from where another may begin, in bytes. @see sgdisk(8), --new */
function endOf(
  one: Node,
  start: number,
  endBytes: number,
  path: string,
  wrong: Wrong,
): { readonly bytes: number; readonly nextFree: number } | undefined {
  const size = typeof one.size === 'string' ? one.size : '0';
  const given = typeof one.end === 'string' ? one.end : size === '100%' ? '-0' : `+${size}`;
  const [, sign, number = ''] = /^([+-]?)(\d+[KMGTP]?)$/.exec(given) ?? [];
  // Without a unit, it is in sectors.
  const bytes = parseIecSize(/^\d+$/.test(number) ? Number(number) * SECTOR_BYTES : number);
  if (bytes === undefined || bytes % GRAIN_BYTES !== 0) {
    wrong(
      `${path}.${one.end === undefined ? 'size' : 'end'}`,
      `${shown(given)} is not supported; use a size in multiples of 4K, such as "512M"`,
    );
    return undefined;
  }
  if (sign === '+' && bytes > 0) return { bytes: start + bytes, nextFree: start + bytes };
  // sgdisk gives the sector that begins there to the partition as well.
  if (sign === '' && bytes > 0) return { bytes, nextFree: bytes + SECTOR_BYTES };
  const end = roundDown(endBytes - bytes, ALIGNMENT_BYTES);
  return { bytes: end, nextFree: end };
}

function priorityOf(one: Node): number {
  if (typeof one.priority === 'number') return one.priority;
  if (one.type === 'EF02') return 100;
  return one.size === '100%' ? 9001 : 1000;
}

function partitionOf(one: Node, path: string, wrong: Wrong): PartitionInput {
  const code = typeof one.type === 'string' ? one.type : '8300';
  const type = guid.safeParse(code).success ? code : TYPE_CODES[code.toUpperCase()];
  if (type === undefined) wrong(`${path}.type`, `${shown(code)} is not known here; use the GUID of the type`);
  if (one.hybrid !== null && one.hybrid !== undefined) wrong(`${path}.hybrid`, 'a hybrid MBR is not supported');
  if (typeof one.alignment === 'number' && ![0, ALIGNMENT_BYTES / SECTOR_BYTES].includes(one.alignment))
    wrong(`${path}.alignment`, `${one.alignment} is not supported; leave it at 0`);
  refuseHooks(one, path, wrong);
  const attributes = z.array(z.int().min(0).max(63)).safeParse(one.attributes ?? []);
  if (!attributes.success) wrong(`${path}.attributes`, `${shown(one.attributes)} are not numbers of bits`);
  return {
    ...(type === undefined ? {} : { type: guid.safeParse(type).success ? type : gptTypeGuid(type) }),
    ...(typeof one.label === 'string' ? { name: one.label } : {}),
    ...(typeof one.uuid === 'string' ? { uuid: one.uuid } : {}),
    attributes: attributes.data ?? [],
    ...filledWith(one.content, `${path}.content`, wrong),
  };
}

const FILESYSTEMS = ['ext4', 'btrfs', 'xfs', 'f2fs', 'vfat'] as const;

function filledWith(
  given: unknown,
  path: string,
  wrong: Wrong,
): Pick<PartitionInput, 'filesystem' | 'label' | 'mountPoint' | 'subvolumes'> {
  if (given === null || given === undefined) return { filesystem: 'none' };
  const content = asNode(given);
  refuseHooks(content, path, wrong);
  const label = labelIn(content, path, wrong);
  const mountPoint = mountPointIn(content);
  if (content.type === 'swap') {
    // With a random key, the system makes the swap space again at every boot.
    return content.randomEncryption === true ? { filesystem: 'none' } : { filesystem: 'swap', ...label };
  }
  if (content.type === 'filesystem') {
    const filesystem = FILESYSTEMS.find((one) => one === content.format);
    if (filesystem === undefined)
      wrong(`${path}.format`, `${shown(content.format)} is not supported; use ${FILESYSTEMS.join(', ')}`);
    return { filesystem: filesystem ?? 'none', ...label, ...mountPoint };
  }
  if (content.type === 'btrfs') {
    refuseSwapFiles(content, path, wrong);
    const subvolumes = Object.entries(asNode(content.subvolumes)).map(([name, one]) => {
      const at = `${path}.subvolumes.${name}`;
      const subvolume = asNode(one);
      refuseSwapFiles(subvolume, at, wrong);
      if (asList(subvolume.extraArgs).length > 0) wrong(`${at}.extraArgs`, 'are not supported for a subvolume');
      return { path: typeof subvolume.name === 'string' ? subvolume.name : name, ...mountPointIn(subvolume) };
    });
    return { filesystem: 'btrfs', ...label, ...mountPoint, ...(subvolumes.length === 0 ? {} : { subvolumes }) };
  }
  if (content.type === 'luks') {
    for (const option of ['extraFormatArgs', 'enrollFido2', 'enrollRecovery'])
      if (![undefined, null, false].includes(content[option] as undefined) && asList(content[option]).length > 0)
        wrong(
          `${path}.${option}`,
          'is not supported; encrypt of the image specification has keyDerivation and recoveryKeyFile',
        );
    const inside = filledWith(content.content, `${path}.content`, wrong);
    const mounted = [inside.mountPoint, ...(inside.subvolumes ?? []).map((one) => one.mountPoint)];
    if (!mounted.includes('/')) wrong(`${path}.type`, '"luks" is supported only for the root');
    return inside;
  }
  wrong(`${path}.type`, `${shown(content.type)} is not supported`);
  return { filesystem: 'none' };
}

function mountPointIn({ mountpoint: at }: Node): { readonly mountPoint?: string } {
  return typeof at === 'string' ? { mountPoint: posix.resolve('/', at) } : {};
}

function refuseSwapFiles(content: Node, path: string, wrong: Wrong): void {
  for (const name of Object.keys(asNode(content.swap))) wrong(`${path}.swap.${name}`, 'is not supported');
}

/** The label among the options of mkfs. */
function labelIn(content: Node, path: string, wrong: Wrong): { readonly label?: string } {
  const parsed = z.array(z.string()).safeParse(content.extraArgs ?? []);
  const options = [...(parsed.data ?? [])];
  let label: string | undefined;
  while (options.length > 0) {
    const option = options.shift() ?? '';
    const [, joined] = /^(?:-[Ln] ?|--label[= ])(.+)$/.exec(option) ?? [];
    if (joined !== undefined) label = joined;
    else if (['-L', '-n', '--label'].includes(option)) label = options.shift();
    // Here, they make filesystems in new files anyway.
    else if (!['-f', '-F', '--force'].includes(option)) wrong(`${path}.extraArgs`, `${shown(option)} is not supported`);
  }
  return label === undefined ? {} : { label };
}

const HOOKS = ['preCreateHook', 'postCreateHook', 'preMountHook', 'postMountHook', 'preUnmountHook', 'postUnmountHook'];

/** Hooks are shell code for a machine with the disk. Those of unmounting have nothing to do here. */
function refuseHooks(one: Node, path: string, wrong: Wrong): void {
  for (const hook of HOOKS)
    if (typeof one[hook] === 'string' && one[hook].trim() !== '')
      wrong(`${path}.${hook}`, 'is not run: it is for a machine that has the disk');
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}

function asNode(value: unknown): Node {
  return node.safeParse(value).data ?? {};
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}
