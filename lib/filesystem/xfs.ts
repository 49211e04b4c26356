import { open, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { boundedBy, boundedBytes } from '../formats/bounded.ts';
import { crc32c, WRONG_CHECKSUM } from '../formats/crc32c.ts';
import { formatUuid } from '../formats/guid.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import type { FilesystemFacts, NewFilesystem, TreeUsage } from './root-filesystem.ts';
import type { TreeEntry } from './tree.ts';

/** Arguments of mkfs.xfs. @see mkfs.xfs(8) */
function xfsArgs({ label, uuid }: NewFilesystem, prototype: string | undefined, file: string): string[] {
  return [
    ...['mkfs.xfs', '-q', '-f', '-L', label],
    ...(uuid === undefined ? [] : ['-m', `uuid=${uuid}`]),
    ...(prototype === undefined ? [] : ['-p', prototype]),
    file,
  ];
}

/** Makes an xfs in a sparse file, filled by a prototype that names each file where it is. Hard links become files of their
 *  own: a prototype knows none.
 *  @param directories that the tree's files are in. Runs: mkfs.xfs, xfs_db, xfs_repair. */
export async function makeXfs(
  step: StepRunner,
  options: NewFilesystem,
  tree: readonly TreeEntry[] | undefined,
  directories: readonly string[],
  file: string,
): Promise<RunResult> {
  if (tree === undefined) return step.tryRun(xfsArgs(options, undefined, file), { answers: 'any' });
  await checkExpressible(step.step, tree, (await stat(file)).size);
  // Where the files are on this host may have a space in its name too: they are named from here, through links.
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
  // From 6.13 on, a comma in its name would begin an option.
  const prototype = 'prototype';
  await writeFile(join(cwd, prototype), Buffer.from(xfsPrototype(step.step, named), 'latin1'));
  const made = await step.tryRun(xfsArgs(options, prototype, file), { answers: 'any', cwd });
  // A prototype has no sticky bit.
  const sticky = tree.filter(({ mode }) => (mode & 0o1000) !== 0);
  if (made.exitCode !== 0) return made;
  const commands = sticky.flatMap(({ path, type, mode }) => [
    ...['-c', `path /${path}`],
    ...['-c', `write core.mode 0${((type === 'directory' ? 0o040000 : 0o100000) | mode).toString(8)}`],
  ]);
  if (sticky.length > 0) await step.run(['xfs_db', '-x', ...commands, file], { what: 'cannot set the sticky bits' });
  // mkfs.xfs exits 0 when a file did not fit into one free extent.
  return step.run(['xfs_repair', '-n', file], { what: 'mkfs.xfs made a filesystem that is not sound' });
}

/** What a prototype cannot hold, or mkfs.xfs writes wrong without a word.
 *  Measured with xfsprogs 6.1: files of 2 GiB, files larger than an allocation group, link targets beyond an inode. */
async function checkExpressible(step: string, tree: readonly TreeEntry[], sizeBytes: number): Promise<void> {
  // There are four groups, and the log may be in any.
  const largest = Math.min(2 ** 31 - 4096, sizeBytes / 4 - 72 * 1024 * 1024);
  const issues = [];
  for (const { path, type, target, sizeBytes: bytes } of tree) {
    if (type === 'file' && bytes > largest)
      issues.push({
        path: 'fsType',
        message: `"xfs": /${path} has ${bytes} bytes, and mkfs.xfs writes files of at most ${Math.max(0, Math.floor(largest))} bytes whole in a filesystem of this size`,
      });
    if (type === 'symlink' && target.length > 336)
      issues.push({
        path: 'fsType',
        message: `"xfs": the link /${path} points to ${target.length} bytes, mkfs.xfs writes 336`,
      });
  }
  if (issues.length > 0)
    throw new InvalidOptionsError(step, issues, {
      hint: 'fsType "ext4" holds it, and so does a larger diskSize for large files',
    });
}

/** A prototype file. @see mkfs.xfs(8), -p */
function xfsPrototype(step: string, tree: readonly TreeEntry[]): string {
  const lines: string[] = [];
  const word = (text: string, what: string): string => {
    if (/^[^\s:$][^\s]*$/.test(text)) return text;
    throw new InvalidOptionsError(step, [
      {
        path: 'fsType',
        message: `"xfs" cannot hold ${JSON.stringify(what)}: a prototype of mkfs.xfs takes no space in names`,
      },
    ]);
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

/** What an xfs needs for a tree: inodes of 512 bytes, directories, its log. mkfs.xfs takes no less than 300 MB. */
export function xfsBytes({ dataBlocks, inodes, largestBytes }: TreeUsage): number {
  const needed = Math.ceil(dataBlocks * 4096 * 1.1) + inodes * 2048 + 96 * 1024 * 1024;
  // A group, of which there are four, must hold the largest file, and may have the log.
  return Math.max(needed, 320 * 1024 * 1024, 4 * (largestBytes + 80 * 1024 * 1024));
}

/** Offsets in the superblock. @see XFS Algorithms & Data Structures, "Superblocks" */
const AT = {
  ...{ blockSize: 4, blocks: 8, uuid: 32, version: 100, sectorSize: 102, label: 108, freeBlocks: 144 },
  ...{ incompatible: 216, checksum: 224 },
};
/** A feature that xfs_repair(8) takes away again. */
const NEEDS_REPAIR = 0x10;

export async function readXfs(step: string, image: string, offsetBytes: number): Promise<FilesystemFacts> {
  await using handle = await open(image, 'r');
  const { buffer } = await handle.read(Buffer.alloc(4096), 0, 4096, offsetBytes);
  const facts = parseXfs(buffer);
  if (facts === undefined) throw new UnexpectedStateError(step, `there is no xfs at byte ${offsetBytes} of ${image}`);
  return facts;
}

/** @param buffer from the filesystem's first byte on, a whole sector of its own. @returns undefined when it is none. */
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

function damageOf(buffer: Buffer): string | undefined {
  // Only since version 5 there are checksums.
  if ((buffer.readUInt16BE(AT.version) & 0xf) !== 5) return undefined;
  const sector = Buffer.from(buffer.subarray(0, buffer.readUInt16BE(AT.sectorSize)));
  if (sector.length < AT.checksum + 4) return 'has a superblock that claims an impossible sector size';
  const stored = sector.readUInt32LE(AT.checksum);
  sector.writeUInt32LE(0, AT.checksum);
  if (~crc32c(~0, sector) >>> 0 !== stored) return WRONG_CHECKSUM;
  return (buffer.readUInt32BE(AT.incompatible) & NEEDS_REPAIR) === 0 ? undefined : 'is marked as in need of xfs_repair';
}
