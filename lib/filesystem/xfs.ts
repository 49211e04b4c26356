import { open, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { boundedBy, boundedBytes } from '../formats/bounded.ts';
import { crc32c, WRONG_CHECKSUM } from '../formats/crc32c.ts';
import { formatUuid } from '../formats/guid.ts';
import { InvalidOptionsError, type OptionIssue, UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { SECTOR_BYTES } from '../units.ts';
import type { FilesystemFacts, NewFilesystem, TreeUsage } from './root-filesystem.ts';
import type { TreeEntry } from './tree.ts';

/** Arguments of mkfs.xfs. @see mkfs.xfs(8) */
function xfsArgs({ label, uuid, partition }: NewFilesystem, prototype: string | undefined, file: string): string[] {
  return [
    ...['mkfs.xfs', '-q', '-f', '-L', label],
    ...(uuid === undefined ? [] : ['-m', `uuid=${uuid}`]),
    ...(partition.sectorBytes === SECTOR_BYTES ? [] : ['-s', `size=${partition.sectorBytes}`]),
    ...(prototype === undefined ? [] : ['-p', prototype]),
    file,
  ];
}

/** Makes an xfs in a sparse file, filled from a prototype file that names the source of each file. Hard links become
 *  separate files, because a prototype does not support them.
 *  @param directories that contain the tree's files. Runs: mkfs.xfs, xfs_db, xfs_repair. */
export async function makeXfs(
  step: StepRunner,
  options: NewFilesystem,
  tree: readonly TreeEntry[] | undefined,
  directories: readonly string[],
  file: string,
): Promise<RunResult> {
  if (tree === undefined) return step.tryRun(xfsArgs(options, undefined, file), { answers: 'any' });
  await checkExpressible(step.step, tree, (await stat(file)).size);
  // A prototype does not support spaces in paths of this host, so sources are named through symbolic links.
  const cwd = dirname(file);
  const links = directories.map((directory, index) => ({
    from: `${Buffer.from(directory).toString('latin1')}/`,
    to: `from-${index}`,
  }));
  for (const [index, { to }] of links.entries()) await symlink(directories[index] ?? '', join(cwd, to));
  const named = tree.map((entry) => {
    const link = links.find(({ from }) => entry.source.startsWith(from));
    return link === undefined ? entry : { ...entry, source: `${link.to}/${entry.source.slice(link.from.length)}` };
  });
  // A relative name: since 6.13, a comma in the name starts an option.
  const prototype = 'prototype';
  await writeFile(join(cwd, prototype), Buffer.from(xfsPrototype(step.step, named), 'latin1'));
  const made = await step.tryRun(xfsArgs(options, prototype, file), { answers: 'any', cwd });
  // A prototype cannot express the sticky bit.
  const sticky = tree.filter(({ mode }) => (mode & 0o1000) !== 0);
  if (made.exitCode !== 0) return made;
  const commands = sticky.flatMap(({ path, type, mode }) => [
    ...['-c', `path /${path}`],
    ...['-c', `write core.mode 0${((type === 'directory' ? 0o040000 : 0o100000) | mode).toString(8)}`],
  ]);
  if (sticky.length > 0) await step.run(['xfs_db', '-x', ...commands, file], { what: 'cannot set the sticky bits' });
  // mkfs.xfs exits with status 0 even if a file did not fit into one free extent.
  return step.run(['xfs_repair', '-n', file], { what: 'mkfs.xfs made an inconsistent filesystem' });
}

const MOST_SHOWN = 10;

/** Refuses files that mkfs.xfs silently writes wrong. Measured with xfsprogs 6.1: files of 2 GiB, files larger than an
 *  allocation group, link targets that do not fit into an inode. */
async function checkExpressible(step: string, tree: readonly TreeEntry[], sizeBytes: number): Promise<void> {
  // There are four allocation groups, and the log may be in any of them.
  const largest = Math.min(2 ** 31 - 4096, sizeBytes / 4 - 72 * 1024 * 1024);
  const issues: OptionIssue[] = [];
  for (const { path, type, target, sizeBytes: bytes } of tree) {
    if (type === 'file' && bytes > largest)
      issues.push({
        path: 'fsType',
        message: `"xfs": /${path} has ${bytes} bytes, but mkfs.xfs supports at most ${Math.max(0, Math.floor(largest))} bytes for a file in a filesystem of this size`,
      });
    if (type === 'symlink' && target.length > 336)
      issues.push({
        path: 'fsType',
        message: `"xfs": the target of the link /${path} has ${target.length} bytes, but mkfs.xfs supports at most 336`,
      });
  }
  const more = issues.length - MOST_SHOWN;
  if (more > 0)
    issues.splice(MOST_SHOWN, more, { path: 'fsType', message: `"xfs": ${more} further files are too large` });
  if (issues.length > 0)
    throw new InvalidOptionsError(step, issues, {
      hint: 'use ext4, or a larger filesystem for large files',
    });
}

/** A word of a prototype. */
const WORD = /^[^\s:$][^\s]*$/;

function inexpressible(step: string, what: string): InvalidOptionsError {
  return new InvalidOptionsError(step, [
    {
      path: 'fsType',
      message: `"xfs" cannot store ${JSON.stringify(what)}: prototypes of mkfs.xfs do not support spaces in names`,
    },
  ]);
}

/** Passes the entries of a tree on, and refuses the first name that mkfs.xfs could not store.
 *  @throws {InvalidOptionsError} */
export function* requireXfsNames(step: string, tree: Iterable<TreeEntry>): Generator<TreeEntry> {
  for (const entry of tree) {
    const { path, type, target } = entry;
    if (!WORD.test(path.slice(path.lastIndexOf('/') + 1)) && path !== '') throw inexpressible(step, path);
    if (type === 'symlink' && !WORD.test(target)) throw inexpressible(step, path);
    yield entry;
  }
}

/** A prototype file. @see mkfs.xfs(8), -p */
function xfsPrototype(step: string, tree: readonly TreeEntry[]): string {
  const lines: string[] = [];
  const word = (text: string, what: string): string => {
    if (WORD.test(text)) return text;
    throw inexpressible(step, what);
  };
  const open: string[] = [];
  for (const { path, type, mode, uid, gid, source, target } of tree) {
    const segments = path === '' ? [] : path.split('/');
    const name = segments.at(-1);
    while (open.length > segments.length || (open.length > 0 && open.at(-1) !== segments.slice(0, -1).join('/')))
      if (open.pop() !== undefined) lines.push('$');
    const kind = { file: '-', directory: 'd', symlink: 'l', fifo: 'p' }[type];
    const bits = `${kind}${mode & 0o4000 ? 'u' : '-'}${mode & 0o2000 ? 'g' : '-'}${(mode & 0o777).toString(8).padStart(3, '0')}`;
    const owner = `${uid} ${gid}`;
    if (name === undefined) lines.push('/ 0 0', `${bits} ${owner}`);
    else if (type === 'file') lines.push(`${word(name, path)} ${bits} ${owner} ${word(source, source)}`);
    else if (type === 'symlink') lines.push(`${word(name, path)} ${bits} ${owner} ${word(target, path)}`);
    else lines.push(`${word(name, path)} ${bits} ${owner}`);
    if (type === 'directory') open.push(path);
  }
  for (const _ of open) lines.push('$');
  return `${lines.join('\n')}\n`;
}

/** The size that an xfs needs for a tree, in bytes: inodes, directories, the log. mkfs.xfs requires at least 300 MB. */
export function xfsBytes({ dataBlocks, inodes, largestBytes }: TreeUsage): number {
  const needed = Math.ceil(dataBlocks * 4096 * 1.1) + inodes * 2048 + 96 * 1024 * 1024;
  // One of the four allocation groups must have room for the largest file, and possibly for the log.
  return Math.max(needed, 320 * 1024 * 1024, 4 * (largestBytes + 80 * 1024 * 1024));
}

/** Offsets in the superblock. @see XFS Algorithms & Data Structures, "Superblocks" */
const AT = {
  ...{ blockSize: 4, blocks: 8, uuid: 32, version: 100, sectorSize: 102, label: 108, freeBlocks: 144 },
  ...{ incompatible: 216, checksum: 224 },
};
/** A feature flag that xfs_repair(8) clears. */
const NEEDS_REPAIR = 0x10;

export async function readXfs(step: string, image: string, offsetBytes: number): Promise<FilesystemFacts> {
  await using handle = await open(image, 'r');
  const { buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, offsetBytes);
  const facts = parseXfs(buffer);
  if (facts === undefined) throw new UnexpectedStateError(step, `there is no xfs at byte ${offsetBytes} of ${image}`);
  return facts;
}

/** Parses a superblock. @param buffer starts at the filesystem's first byte, and has a whole sector. @returns undefined
 *  when it is not an xfs. */
export function parseXfs(buffer: Buffer): FilesystemFacts | undefined {
  if (buffer.length < 4096 || buffer.toString('latin1', 0, 4) !== 'XFSB') return undefined;
  const blockBytes = buffer.readUInt32BE(AT.blockSize);
  const sizeBytes = boundedBytes(buffer.readBigUInt64BE(AT.blocks), blockBytes);
  return {
    uuid: formatUuid(buffer.subarray(AT.uuid, AT.uuid + 16)),
    label: buffer.toString('latin1', AT.label, AT.label + 12).replace(/\0.*$/s, ''),
    sizeBytes,
    freeBytes: boundedBy(boundedBytes(buffer.readBigUInt64BE(AT.freeBlocks), blockBytes), sizeBytes),
    damage: damageOf(buffer),
  };
}

/** The sector size of an xfs. @param buffer as for parseXfs. */
export function xfsSectorBytes(buffer: Buffer): number {
  return buffer.readUInt16BE(AT.sectorSize);
}

function damageOf(buffer: Buffer): string | undefined {
  // Only version 5 has checksums.
  if ((buffer.readUInt16BE(AT.version) & 0xf) !== 5) return undefined;
  const sector = Buffer.from(buffer.subarray(0, buffer.readUInt16BE(AT.sectorSize)));
  if (sector.length < AT.checksum + 4) return 'has a superblock that claims an impossible sector size';
  const stored = sector.readUInt32LE(AT.checksum);
  sector.writeUInt32LE(0, AT.checksum);
  if (~crc32c(~0, sector) >>> 0 !== stored) return WRONG_CHECKSUM;
  return (buffer.readUInt32BE(AT.incompatible) & NEEDS_REPAIR) === 0 ? undefined : 'is marked as needing xfs_repair';
}
