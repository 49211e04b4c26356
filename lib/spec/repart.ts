import { createHmac } from 'node:crypto';
import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { z } from 'zod';
import { DEFAULT_COMPRESSION, PACKED_FILESYSTEMS, problemWithCompression } from '../filesystem/packed-filesystem.ts';
import { formatUuid } from '../formats/guid.ts';
import { gptTypeName } from '../formats/partition-table/types.ts';
import { isErrno, wordsFor } from '../run/errno.ts';
import { InvalidOptionsError, type OptionIssue } from '../run/errors.ts';
import { KIB, MIB, roundDown, roundUp } from '../units.ts';
import { guid } from './fields.ts';
import { gptType, type partitionsSpec } from './partitions-spec.ts';
import { subvolumePath } from './subvolumes.ts';

/** Definitions of systemd-repart, as entries of `partitions`. @see repart.d(5), systemd 257 */

const STEP = 'readRepart';

export interface ReadRepartOptions {
  /** A directory with definitions: `*.conf`, and drop-ins in `*.conf.d`. */
  readonly directory: string;
  /** The GUID from which identifiers are derived, as with `systemd-repart --seed`; default: those of this project. */
  readonly seed?: string | undefined;
  /** What `Type=root` and `Type=usr` stand for: "x86-64", "arm64" …; default: the architecture of this host. */
  readonly architecture?: string | undefined;
}

type PartitionInput = z.input<typeof partitionsSpec>[number];

/** systemd-repart works in blocks of this size. */
const GRAIN_BYTES = 4 * KIB;
const DEFAULT_LEAST_BYTES = 10 * MIB;
const DEFAULT_WEIGHT = 1000;
/** Filesystems that systemd-repart makes no smaller than this. */
export const LEAST_OF_FORMAT: Readonly<Record<string, number>> = { ext4: 32 * MIB, btrfs: 256 * MIB, xfs: 300 * MIB };

const GROWS = 59;
const READ_ONLY = 60;
const NO_AUTO = 63;
/** Types that are marked to grow, unless the definition says otherwise. */
const GROWING = /^(?:(?:root|usr)-(?!.*-verity)|(?:home|srv|var|tmp|xbootldr)$)/;
const VERITY = /-verity$/;

/** Settings that do not change the disk. */
const WITHOUT_EFFECT = ['FactoryReset', 'SplitName'];

/** Settings that decide what happens on a disk that is too small; here, a build for such a disk fails. */
const FOR_SMALL_DISKS = ['Priority'];

const KNOWN = [
  ...['PaddingWeight', 'PaddingMinBytes', 'PaddingMaxBytes', ...FOR_SMALL_DISKS],
  ...['Type', 'Label', 'UUID', 'Weight', 'SizeMinBytes', 'SizeMaxBytes', 'Format', 'CopyFiles', 'MountPoint'],
  ...['Minimize', 'Flags', 'NoAuto', 'ReadOnly', 'GrowFileSystem', ...WITHOUT_EFFECT],
  ...['Compression', 'CompressionLevel', 'Subvolumes'],
];

/** A boolean. @see systemd.syntax(7) */
const TRUE_WORDS = ['1', 'yes', 'y', 'true', 't', 'on'];
const FALSE_WORDS = ['0', 'no', 'n', 'false', 'f', 'off'];

/** Values of settings that mean what would be without them. */
const NEUTRAL: Readonly<Record<string, readonly string[]>> = {
  Encrypt: ['', ...FALSE_WORDS],
  Verity: ['', ...FALSE_WORDS],
};

/** Reads a directory of systemd-repart's definitions, as a value for `partitions` of an image specification.
 *
 *  What is copied comes from the system that is installed: `CopyFiles=/home:/`, or else `MountPoint=/home`, is the part of
 *  its tree below /home. Without `SizeMinBytes=`, or with `Minimize=`, a partition with files is as large as they need.
 *  Each partition gets its share of a given diskSize by `Weight=`.
 *  @throws {InvalidOptionsError} which names each file and setting that is wrong, or that an image cannot be given: encryption, verity, and files from elsewhere. */
export async function readRepart({ directory, seed, architecture }: ReadRepartOptions): Promise<PartitionInput[]> {
  if (seed !== undefined && !guid.safeParse(withDashes(seed)).success)
    throw new InvalidOptionsError(STEP, [{ path: 'seed', message: `${seed} is not a GUID` }]);
  const issues: OptionIssue[] = [];
  const definitions = await readDefinitions(directory, issues);
  const partitions: PartitionInput[] = [];
  const [labels, types] = [new Set<string>(), new Map<string, number>()];
  for (const definition of definitions) {
    const wrong = (key: string, message: string): void => {
      issues.push({ path: `${definition.file}: ${key}`, message });
    };
    refuseUnsupported(definition, wrong);
    const type = typeOf(definition, architecture ?? localArchitecture(), wrong);
    if (type === undefined) continue;
    const earlier = types.get(type) ?? 0;
    types.set(type, earlier + 1);
    const label = labelOf(definition, type, labels, wrong);
    labels.add(label);
    const uuid = uuidOf(definition, type, earlier, seed, wrong);
    partitions.push({
      ...{ type, name: label, ...filesOf(definition, type, wrong), ...sizesOf(definition, type, wrong) },
      ...compressionOf(definition, type, wrong),
      ...subvolumesOf(definition, type, wrong),
      ...{ weight: numberOf(definition, 'Weight', 1_000_000, wrong) ?? DEFAULT_WEIGHT, alignment: GRAIN_BYTES },
      ...(uuid === undefined ? {} : { uuid }),
      ...(uuid === undefined || seed === undefined ? {} : identityOf(definition, type, uuid)),
      ...paddingOf(definition, wrong),
      attributes: attributesOf(definition, type, wrong),
    });
  }
  if (issues.length > 0)
    throw new InvalidOptionsError(STEP, issues, { hint: 'docs/layouts.md lists what is taken from repart.d' });
  if (partitions.length === 0)
    throw new InvalidOptionsError(STEP, [{ path: 'directory', message: `${directory} has no definition (*.conf)` }]);
  // Without any weight, the first one grows.
  const [first] = partitions;
  if (first !== undefined && partitions.every(({ weight, padding }) => weight === 0 && (padding?.weight ?? 0) === 0))
    first.weight = 1;
  return partitions;
}

interface Definition {
  /** The name of the file. */
  readonly file: string;
  readonly settings: ReadonlyMap<string, readonly string[]>;
}

type Wrong = (key: string, message: string) => void;

async function readDefinitions(directory: string, issues: OptionIssue[]): Promise<Definition[]> {
  const names = await listed(directory);
  if (names === undefined)
    throw new InvalidOptionsError(STEP, [{ path: 'directory', message: `${directory} does not exist` }]);
  const definitions: Definition[] = [];
  for (const file of names) {
    const path = join(directory, file);
    const main = await readSettings(path, file, issues);
    if (main === undefined) continue;
    const settings = new Map(main);
    const dropIns = `${path}.d`;
    for (const name of (await listed(dropIns)) ?? [])
      for (const [key, values] of (await readSettings(join(dropIns, name), `${file}.d/${name}`, issues)) ?? [])
        settings.set(key, [...(settings.get(key) ?? []), ...values]);
    definitions.push({ file, settings });
  }
  return definitions;
}

/** The names of configuration files in a directory, sorted by their bytes; undefined when it does not exist. */
async function listed(directory: string): Promise<string[] | undefined> {
  const entries = await readdir(directory).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw new InvalidOptionsError(STEP, [
      { path: 'directory', message: `${directory} cannot be read: ${wordsFor(error)}` },
    ]);
  });
  const names = entries?.filter((name) => name.endsWith('.conf') && !name.startsWith('.'));
  return names?.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Reads the [Partition] section of a file. @returns undefined for an empty file and for a link to /dev/null, which mask a
 *  definition. @see systemd.syntax(7) */
async function readSettings(
  path: string,
  file: string,
  issues: OptionIssue[],
): Promise<Map<string, string[]> | undefined> {
  const facts = await lstat(path);
  if (facts.isDirectory()) return undefined;
  if (!facts.isFile() && !facts.isSymbolicLink()) {
    issues.push({ path: file, message: 'is not a file' });
    return undefined;
  }
  const text = facts.isFile() || (await linksToFile(path)) ? (await readFile(path, 'utf8')).replace(/^\uFEFF/, '') : '';
  if (text === '') return undefined;
  const settings = new Map<string, string[]>();
  let section = '';
  let joined = '';
  const lines: string[] = [];
  for (const raw of text.split('\n')) {
    const line = raw.replace(/\r$/, '');
    if (/^\s*[#;]/.test(line)) continue;
    if (/(?<!\\)\\$/.test(line)) {
      joined += `${line.slice(0, -1)} `;
      continue;
    }
    const whole = `${joined}${line}`.trim();
    joined = '';
    if (whole !== '') lines.push(whole);
  }
  if (joined.trim() !== '') lines.push(joined.trim());
  for (const whole of lines) {
    const header = /^\[(.*)\]$/.exec(whole)?.[1];
    if (header !== undefined) section = header;
    if (header !== undefined && header !== 'Partition' && !header.startsWith('X-'))
      issues.push({ path: file, message: `[${header}] is not a section of repart.d; use [Partition]` });
    if (header !== undefined || section !== 'Partition') continue;
    const [, key = '', value = ''] = /^([^=]*)=(.*)$/s.exec(whole)?.map((part) => part.trim()) ?? [];
    if (key === '') issues.push({ path: file, message: `"${whole}" is not a setting` });
    else if (!key.startsWith('X-')) settings.set(key, [...(settings.get(key) ?? []), value]);
  }
  return settings;
}

/** Whether a link leads to a regular file; reading a device could block. */
async function linksToFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}

function last(definition: Definition, key: string): string | undefined {
  return definition.settings.get(key)?.at(-1);
}

function refuseUnsupported({ settings }: Definition, wrong: Wrong): void {
  const priority = settings.get('Priority')?.at(-1) ?? '0';
  if (!/^-?\d{1,10}$/.test(priority)) wrong('Priority', `"${priority}" is not a number`);
  for (const [key, values] of settings) {
    if (KNOWN.includes(key)) continue;
    const value = values.at(-1) ?? '';
    if (NEUTRAL[key]?.includes(value.toLowerCase()) !== true)
      wrong(key, `${value === '' ? 'is' : `"${value}" is`} not supported`);
  }
}

function typeOf(definition: Definition, architecture: string, wrong: Wrong): string | undefined {
  const given = last(definition, 'Type');
  if (given === undefined) {
    wrong('Type', 'is required');
    return undefined;
  }
  const [, tree, named, suffix = ''] = /^(root|usr)(-[a-z0-9_-]+?)??(-verity(?:-sig)?)?$/.exec(given) ?? [];
  const of = named === undefined ? architecture : (OTHER_NAMES[named.slice(1)] ?? named.slice(1));
  const name =
    tree === undefined ? given : `${tree}-${of === 'secondary' ? (SECONDARY[architecture] ?? of) : of}${suffix}`;
  const plain = withDashes(name);
  if (/^[0-]+$/.test(plain)) {
    wrong('Type', 'is the GUID of an unused entry');
    return undefined;
  }
  const parsed = gptType.safeParse(plain);
  if (!parsed.success) wrong('Type', parsed.error.issues[0]?.message ?? `${given} is not a partition type`);
  return parsed.data;
}

const OTHER_NAMES: Readonly<Record<string, string>> = {
  amd64: 'x86-64',
  x86_64: 'x86-64',
  aarch64: 'arm64',
  i386: 'x86',
};
/** The architecture whose programs a machine runs as well. */
const SECONDARY: Readonly<Record<string, string>> = { 'x86-64': 'x86', arm64: 'arm' };

function localArchitecture(): string {
  return (
    { x64: 'x86-64', arm64: 'arm64', ia32: 'x86', riscv64: 'riscv64', ppc64: 'ppc64-le' }[process.arch as string] ??
    process.arch
  );
}

/** The name of the type, with a number if an earlier partition has that. */
function labelOf(definition: Definition, type: string, labels: ReadonlySet<string>, wrong: Wrong): string {
  const given = last(definition, 'Label');
  if (given !== undefined) {
    if (/%/.test(given.replaceAll('%%', ''))) wrong('Label', `"${given}": specifiers are not supported`);
    if (Buffer.byteLength(given) > 36) wrong('Label', `"${given}" is longer than 36 bytes`);
    return given.replaceAll('%%', '%');
  }
  const name = gptTypeName(type) ?? 'linux';
  for (let number = 1; ; number += 1) {
    const label = number === 1 ? name : `${name}-${number}`;
    if (!labels.has(label)) return label;
  }
}

/** A GUID may be written without its dashes. */
function withDashes(text: string): string {
  return /^[0-9a-f]{32}$/i.test(text) ? formatUuid(Buffer.from(text, 'hex')) : text;
}

function uuidOf(
  definition: Definition,
  type: string,
  earlier: number,
  seed: string | undefined,
  wrong: Wrong,
): string | undefined {
  const given = last(definition, 'UUID');
  if (given === 'null') wrong('UUID', '"null" is not supported: the system would not find the partition');
  if (given !== undefined && given !== '' && given !== 'null') {
    const plain = withDashes(given);
    if (!guid.safeParse(plain).success) wrong('UUID', `"${given}" is not a GUID`);
    return plain;
  }
  if (seed === undefined) return undefined;
  const counter = Buffer.alloc(earlier === 0 ? 0 : 8);
  if (earlier > 0) counter.writeBigUInt64LE(BigInt(earlier));
  return derived(seed, Buffer.concat([bytesOf(type), counter]));
}

/** How systemd-repart derives an identifier: version 4, as if it were random. */
function derived(key: string, message: Uint8Array | string): string {
  const bytes = createHmac('sha256', bytesOf(key)).update(message).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return formatUuid(bytes);
}

function bytesOf(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

function identityOf(definition: Definition, type: string, uuid: string): { readonly filesystemUuid?: string } {
  const format = formatOf(definition, type);
  if (format === undefined || format === 'none' || format === 'squashfs') return {};
  const filesystemUuid = derived(uuid, 'file-system-uuid');
  return { filesystemUuid: format === 'vfat' ? filesystemUuid.slice(0, 8) : filesystemUuid };
}

const FORMATS = ['ext4', 'btrfs', 'xfs', 'vfat', 'swap', 'f2fs', 'erofs', 'squashfs'] as const;

/** The filesystem that the definition names, or that its type and its files imply. */
function formatOf(definition: Definition, type: string): string | undefined {
  const given = last(definition, 'Format');
  if (given !== undefined && given !== '') return given;
  const name = gptTypeName(type);
  if (name === 'swap') return 'swap';
  const hasFiles = definition.settings.has('CopyFiles') || definition.settings.has('MountPoint');
  if (!hasFiles) return 'none';
  return name === 'esp' || name === 'xbootldr' ? 'vfat' : 'ext4';
}

function filesOf(
  definition: Definition,
  type: string,
  wrong: Wrong,
): Pick<PartitionInput, 'filesystem' | 'mountPoint'> {
  const format = formatOf(definition, type);
  const filesystem = [...FORMATS, 'none' as const].find((one) => one === format);
  if (filesystem === undefined) wrong('Format', `"${format}" is not supported; use ${FORMATS.join(', ')}`);
  const mounts = (definition.settings.get('MountPoint') ?? []).filter((value) => value !== '');
  if (mounts.length > 1) wrong('MountPoint', 'is given several times: a partition is mounted at one place');
  const mounted = mounts.at(-1);
  const [at = '', ...options] = mounted?.split(':') ?? [];
  if (options.length > 0 && options.join(':') !== '')
    wrong('MountPoint', `"${mounted}": mount options are those of the system's fileSystems`);
  const copied = (definition.settings.get('CopyFiles') ?? []).filter((value) => value !== '');
  const trees = copied.map((value) => {
    const [source = '', target = source, ...more] = value.split(':');
    if (more.length > 0 || target !== '/')
      wrong('CopyFiles', `"${value}" is not supported: a partition gets one part of the system, such as /home:/`);
    return source;
  });
  if (trees.length > 1) wrong('CopyFiles', 'is given several times: a partition gets one part of the system');
  const mountPoint = mounted === undefined || at === '' ? trees[0] : at;
  if (mountPoint === undefined) return { filesystem };
  const normalized = posix.resolve('/', mountPoint);
  if (trees[0] !== undefined && posix.resolve('/', trees[0]) !== normalized)
    wrong('CopyFiles', `"${copied[0]}" is not what is mounted at ${normalized}`);
  return { filesystem, mountPoint: normalized };
}

/** Directories of a btrfs that are subvolumes. */
function subvolumesOf(definition: Definition, type: string, wrong: Wrong): Pick<PartitionInput, 'subvolumes'> {
  // An empty value takes back those before it.
  const values = definition.settings.get('Subvolumes') ?? [];
  const words = values.slice(values.lastIndexOf('') + 1).flatMap((value) => value.split(/\s+/).filter(Boolean));
  if (words.length === 0) return {};
  if (formatOf(definition, type) !== 'btrfs') wrong('Subvolumes', 'is supported only with Format=btrfs');
  const paths = words.map((word) => {
    const parsed = subvolumePath.safeParse(word.replace(/\/+$/, ''));
    if (!word.startsWith('/') || word.includes(':') || !parsed.success)
      wrong('Subvolumes', `"${word}" is not an absolute path of a directory; flags are not supported`);
    return parsed.data ?? '';
  });
  return { subvolumes: [...new Set(paths)].map((path) => ({ path })) };
}

function compressionOf(
  definition: Definition,
  type: string,
  wrong: Wrong,
): Pick<PartitionInput, 'compression' | 'compressionLevel'> {
  const fsType = PACKED_FILESYSTEMS.find((one) => one === formatOf(definition, type));
  const compression = last(definition, 'Compression');
  const level = last(definition, 'CompressionLevel');
  const given = Object.entries({ Compression: compression, CompressionLevel: level });
  if (fsType === undefined) {
    for (const [key, value] of given)
      if (value !== undefined && value !== '')
        wrong(key, `"${value}" is supported only with Format=${PACKED_FILESYSTEMS.join(' and ')}`);
    return {};
  }
  if (level !== undefined && level !== '' && !/^-?\d{1,4}$/.test(level)) {
    wrong('CompressionLevel', `"${level}" is not a number`);
    return {};
  }
  const chosen = compression === undefined || compression === '' ? DEFAULT_COMPRESSION[fsType] : compression;
  const compressionLevel = level === undefined || level === '' ? undefined : Number(level);
  const problem = problemWithCompression(fsType, chosen, compressionLevel);
  if (problem !== undefined)
    wrong(problem.option === 'compression' ? 'Compression' : 'CompressionLevel', problem.message);
  return { compression: chosen, ...(compressionLevel === undefined ? {} : { compressionLevel }) };
}

function sizeOf(definition: Definition, key: string, wrong: Wrong): number | undefined {
  const given = last(definition, key);
  const bytes = given === undefined ? undefined : sizeIn(given);
  if (given !== undefined && bytes === undefined) wrong(key, `"${given}" is not a size such as "512M"`);
  return bytes;
}

function paddingOf(definition: Definition, wrong: Wrong): Pick<PartitionInput, 'padding'> {
  const size = roundDown(sizeOf(definition, 'PaddingMinBytes', wrong) ?? 0, GRAIN_BYTES);
  const most = sizeOf(definition, 'PaddingMaxBytes', wrong);
  const weight = numberOf(definition, 'PaddingWeight', 1_000_000, wrong) ?? 0;
  const maxSize = most === undefined ? undefined : roundUp(most, GRAIN_BYTES);
  if (maxSize !== undefined && maxSize < size) wrong('PaddingMinBytes', 'is more than PaddingMaxBytes');
  if (size === 0 && weight === 0) return {};
  // Without a weight, nothing makes it grow.
  return { padding: { size, weight, ...(maxSize === undefined || weight === 0 ? {} : { maxSize }) } };
}

function sizesOf(
  definition: Definition,
  type: string,
  wrong: Wrong,
): Pick<PartitionInput, 'size' | 'maxSize' | 'additionalSpace'> {
  const [least, most] = [sizeOf(definition, 'SizeMinBytes', wrong), sizeOf(definition, 'SizeMaxBytes', wrong)];
  if (least !== undefined && most !== undefined && least > most) wrong('SizeMinBytes', 'is more than SizeMaxBytes');
  const minimize = (last(definition, 'Minimize') ?? 'off').toLowerCase();
  if (![...FALSE_WORDS, ...TRUE_WORDS, 'best', 'guess', ''].includes(minimize))
    wrong('Minimize', `"${minimize}" is not off, best or guess`);
  const maxSize = most === undefined ? {} : { maxSize: roundUp(most, GRAIN_BYTES) };
  const isMinimized = ['best', 'guess', ...TRUE_WORDS].includes(minimize);
  const isRead = PACKED_FILESYSTEMS.some((one) => one === formatOf(definition, type));
  const hasFiles = definition.settings.has('CopyFiles') || definition.settings.has('MountPoint');
  if (hasFiles && (isMinimized || least === undefined) && formatOf(definition, type) !== 'vfat')
    return { size: 'auto', ...maxSize, ...(isMinimized && !isRead ? { additionalSpace: 0 } : {}) };
  const format = formatOf(definition, type);
  const floor = Math.max(LEAST_OF_FORMAT[format ?? ''] ?? 0, GRAIN_BYTES);
  const bytes = Math.max(roundDown(least ?? DEFAULT_LEAST_BYTES, GRAIN_BYTES), floor);
  return { size: bytes, ...(most === undefined ? {} : { maxSize: Math.max(bytes, roundUp(most, GRAIN_BYTES)) }) };
}

/** A size of systemd's: "1.5G", "1M 512K", "+4096"; undefined when it is malformed. */
function sizeIn(text: string): number | undefined {
  const units = 'BKMGTPE';
  let total = 0;
  let before = units.length;
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?)\s*([BKMGTPE]?)/g)];
  if (parts.length === 0 || !/^\s*\+?\s*(?:\d+(?:\.\d*)?\s*[BKMGTPE]?\s*)+$/.test(text)) return undefined;
  for (const [, number, unit = ''] of parts) {
    const power = Math.max(0, units.indexOf(unit === '' ? 'B' : unit));
    if (power >= before) return undefined;
    before = power;
    total += Math.floor(Number(number) * KIB ** power);
  }
  return Number.isSafeInteger(total) ? total : undefined;
}

function numberOf(definition: Definition, key: string, most: number, wrong: Wrong): number | undefined {
  const given = last(definition, key);
  if (given === undefined) return undefined;
  const value = /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
  if (!(value <= most)) wrong(key, `"${given}" is not a number from 0 to ${most}`);
  return value;
}

function attributesOf(definition: Definition, type: string, wrong: Wrong): number[] {
  const isSet = (key: string): boolean | undefined => {
    const given = last(definition, key)?.toLowerCase();
    if (given === undefined || given === '') return undefined;
    if (TRUE_WORDS.includes(given)) return true;
    if (!FALSE_WORDS.includes(given)) wrong(key, `"${given}" is not a boolean`);
    return false;
  };
  const [noAuto, readOnly, grows] = [isSet('NoAuto'), isSet('ReadOnly'), isSet('GrowFileSystem')];
  const flags = flagsIn(last(definition, 'Flags'), wrong);
  const name = gptTypeName(type) ?? '';
  for (const [key, value, isKnown] of [
    ['NoAuto', noAuto, GROWING.test(name) || VERITY.test(name) || name === 'swap'],
    ['ReadOnly', readOnly, GROWING.test(name) || VERITY.test(name)],
    ['GrowFileSystem', grows, GROWING.test(name)],
  ] as const)
    if (value === true && !isKnown)
      wrong(key, `is not an attribute of partitions of type ${name === '' ? type : name}`);
  const bits = new Set(flags);
  if (readOnly ?? VERITY.test(name)) bits.add(READ_ONLY);
  if (readOnly === false) bits.delete(READ_ONLY);
  if (noAuto === true) bits.add(NO_AUTO);
  if (noAuto === false) bits.delete(NO_AUTO);
  if (grows ?? (GROWING.test(name) && readOnly !== true)) bits.add(GROWS);
  if (grows === false) bits.delete(GROWS);
  return [...bits].sort((a, b) => a - b);
}

function flagsIn(given: string | undefined, wrong: Wrong): number[] {
  if (given === undefined || given === '') return [];
  if (!/^(?:0x[0-9a-f]{1,16}|0b[01]{1,64}|\d{1,20})$/i.test(given)) {
    wrong('Flags', `"${given}" is not a number`);
    return [];
  }
  const value = BigInt(given.toLowerCase());
  if ((value & ((1n << 48n) - 1n)) !== 0n)
    wrong('Flags', `"${given}" sets bits below 48, which systemd-repart does not write`);
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => (value >> BigInt(bit)) & 1n);
}
