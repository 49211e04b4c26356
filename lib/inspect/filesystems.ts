import { SUPERBLOCK_AT as BTRFS_SUPERBLOCK_AT, parseBtrfs } from '../filesystem/btrfs.ts';
import { SUPERBLOCK_AT as F2FS_SUPERBLOCK_AT, parseF2fs } from '../filesystem/f2fs.ts';
import type { FilesystemFacts } from '../filesystem/root-filesystem.ts';
import { parseXfs } from '../filesystem/xfs.ts';
import { parseExt4Superblock, SUPERBLOCK_AT, SUPERBLOCK_BYTES } from '../formats/ext4/superblock.ts';
import type { Extent } from '../formats/extent.ts';
import { parseFatLayout } from '../formats/fat.ts';
import { formatUuid } from '../formats/guid.ts';
import type { StepRunner } from '../run/step.ts';
import { GIB } from '../units.ts';
import { askProgram } from './ask-program.ts';
import type { Budget } from './budget.ts';
import { type Finding, finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';

/** The filesystem in a partition, identified by its first bytes. */
export interface FoundFilesystem {
  readonly type: string;
  readonly label: string;
  /** As in /dev/disk/by-uuid. */
  readonly uuid: string;
  readonly sizeBytes: number | undefined;
  readonly freeBytes: number | undefined;
  readonly findings: readonly Finding[];
}

interface Place extends Extent {
  readonly number: number;
}

/** Identifies a filesystem by its superblock, or with blkid if its type is unknown here. @returns undefined when blkid
 *  does not know it either. Types have blkid's names. @see blkid(8). Runs: blkid. */
export async function readFilesystem(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  place: Place,
): Promise<FoundFilesystem | undefined> {
  const head = await image.read(place.offsetBytes, Math.min(0x1_1000, place.sizeBytes));
  if (head.length < 4096) return undefined;
  for (const reader of [ext4, btrfs, xfs, fat, f2fs, swap, luks, lvm]) {
    const found = reader(head, place);
    if (found !== undefined) return found;
  }
  return askBlkid(step, budget, image, place);
}

/** The part of a filesystem in which blkid usually finds signatures. Of an image that is not raw, only this much is
 *  copied for it. */
const PROBED_BYTES = GIB;

async function askBlkid(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  { offsetBytes, sizeBytes }: Place,
): Promise<FoundFilesystem | undefined> {
  const size = Math.min(sizeBytes, image.virtualBytes - offsetBytes, image.isRaw ? sizeBytes : PROBED_BYTES);
  const fields = await probe(step, budget, image, { offsetBytes, sizeBytes: size });
  const { TYPE: type, UUID: uuid = '', LABEL: label = '' } = fields;
  return type === undefined ? undefined : plain(type, uuid, label);
}

/** Runs blkid(8) on a part of a disk. @returns its fields: TYPE, UUID, LABEL … Exit status 2 means that it found
 *  nothing, 8 that it found contradicting signatures. Runs: blkid. */
export async function probe(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  { offsetBytes, sizeBytes }: Extent,
): Promise<Record<string, string>> {
  const place = await image.asRaw(offsetBytes, sizeBytes);
  const extent = ['--offset', `${place.offsetBytes}`, '--size', `${sizeBytes}`];
  const { stdout } = await askProgram(
    step,
    budget,
    // --probe does not use blkid's cache, which would be written.
    ['blkid', '--probe', ...extent, '--output', 'export', place.image],
    { answers: [0, 2, 8], maxBytes: 64 * 1024, what: `cannot identify the filesystem at byte ${offsetBytes}` },
  );
  return Object.fromEntries(
    stdout
      .toString('utf8')
      .split('\n')
      .filter((line) => line.includes('=') && !line.startsWith('DEVNAME='))
      .map((line) => [line.slice(0, line.indexOf('=')), unescaped(line.slice(line.indexOf('=') + 1))]),
  );
}

/** Removes the backslashes with which blkid escapes spaces and other characters for a shell. */
function unescaped(value: string): string {
  return value.replace(/\\(.)/g, '$1');
}

/** With less free space, no system starts, because its first log needs more. */
const NEARLY_FULL_BYTES = 256 * 1024;

type Reader = (head: Buffer, place: Place) => FoundFilesystem | undefined;

const text = (bytes: Buffer): string => bytes.toString('utf8').replace(/\0.*$/s, '').trimEnd();
const plain = (type: string, uuid: string, label = ''): FoundFilesystem => ({
  ...{ type, label, uuid, sizeBytes: undefined, freeBytes: undefined, findings: [] },
});

const ext4: Reader = (head, { number, sizeBytes: room }) => {
  const superblock = parseExt4Superblock(head.subarray(SUPERBLOCK_AT, SUPERBLOCK_AT + SUPERBLOCK_BYTES));
  if (superblock === undefined) return undefined;
  const { type, label, uuid, sizeBytes, freeBytes, freeInodes, isWritable, hasErrors, damage, oddity } = superblock;
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], message: string) =>
    findings.push(finding(name, severity, 'stage 1', `the ext4 of partition ${number} ${message}`, undefined));
  if (damage !== undefined) say('superblock-damaged', 'fatal', damage);
  else if (oddity !== undefined) say('superblock-damaged', 'error', oddity);
  if (sizeBytes > room) say('filesystem-too-large', 'fatal', `has ${sizeBytes} bytes, but the partition has ${room}`);
  if (hasErrors) say('filesystem-errors', 'error', 'is marked as having errors');
  // A read-only filesystem is full by design.
  if (isWritable && freeBytes < NEARLY_FULL_BYTES) say('filesystem-full', 'error', `has only ${freeBytes} free bytes`);
  else if (isWritable && freeInodes === 0) say('filesystem-full', 'error', 'has no free inode');
  return { type, label, uuid, sizeBytes, freeBytes, findings };
};

const btrfs: Reader = (head, place) => known('btrfs', parseBtrfs(head.subarray(BTRFS_SUPERBLOCK_AT)), place, 'fatal');
const xfs: Reader = (head, place) => known('xfs', parseXfs(head), place, 'fatal');
// The kernel mounts it, and fails only when it accesses missing blocks.
const f2fs: Reader = (head, place) => known('f2fs', parseF2fs(head.subarray(F2FS_SUPERBLOCK_AT)), place, 'error');

/** Makes the result from a filesystem's facts. @param whenTooLarge the severity if the filesystem is larger than its
 *  partition. */
function known(
  type: string,
  facts: FilesystemFacts | undefined,
  { number, sizeBytes: room }: Place,
  whenTooLarge: Finding['severity'],
): FoundFilesystem | undefined {
  if (facts === undefined) return undefined;
  const { uuid, label, sizeBytes, freeBytes, deviceBytes = sizeBytes, damage } = facts;
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], message: string) =>
    findings.push(finding(name, severity, 'stage 1', `the ${type} of partition ${number} ${message}`, undefined));
  if (damage !== undefined) say('superblock-damaged', 'fatal', damage);
  if (deviceBytes > room)
    say('filesystem-too-large', whenTooLarge, `has ${deviceBytes} bytes, but the partition has ${room}`);
  if (freeBytes !== undefined && freeBytes < NEARLY_FULL_BYTES)
    say('filesystem-full', 'error', `has only ${freeBytes} free bytes`);
  return { type, label, uuid, sizeBytes, freeBytes, findings };
}

const fat: Reader = (head, { number, sizeBytes: room }) => {
  const layout = head[0] === 0xeb || head[0] === 0xe9 ? parseFatLayout(head) : undefined;
  if (layout === undefined) return undefined;
  const { volumeId, label, sizeBytes } = layout;
  const message = `the FAT of partition ${number} has ${sizeBytes} bytes, but the partition has ${room}`;
  return {
    ...plain('vfat', volumeId, label === 'NO NAME' ? '' : label),
    sizeBytes,
    findings: sizeBytes > room ? [finding('filesystem-too-large', 'warning', 'firmware', message, undefined)] : [],
  };
};

const swap: Reader = (head) =>
  head.toString('latin1', 4086, 4096) === 'SWAPSPACE2'
    ? plain('swap', formatUuid(head.subarray(0x40c, 0x41c)), text(head.subarray(0x41c, 0x42c)))
    : undefined;

const luks: Reader = (head) =>
  isLuks(head, 0, 'LUKS')
    ? plain('crypto_LUKS', text(head.subarray(168, 208)))
    : // Only the second copy of the header, at its usual place.
      isLuks(head, LUKS_SECOND_COPY, 'SKUL')
      ? plain('crypto_LUKS', text(head.subarray(LUKS_SECOND_COPY + 168, LUKS_SECOND_COPY + 208)))
      : undefined;

const LUKS_SECOND_COPY = 0x4000;

function isLuks(head: Buffer, at: number, magic: string): boolean {
  return (
    head.length > at + 208 && head.toString('latin1', at, at + 4) === magic && head.readUInt16BE(at + 4) === 0xbabe
  );
}

const lvm: Reader = (head) =>
  head.toString('latin1', 512, 520) === 'LABELONE' ? plain('LVM2_member', text(head.subarray(544, 576))) : undefined;
