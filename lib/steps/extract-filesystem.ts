import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Ext4Node, ext4Location, readExt4Fields, readExt4Nodes } from '../filesystem/ext4/debugfs.ts';
import { mtoolsName, readWholeFat } from '../filesystem/fat.ts';
import { listTree, type TreeEntry, type TreeEntryType } from '../filesystem/tree.ts';
import { makeDirectories, requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { partitionExtent, path } from '../spec/fields.ts';

const STEP = 'extractFilesystem';

const schema = z.object({
  /** A raw disk image; its filesystem is not mounted. */
  image: path,
  /** Bytes. */
  partition: partitionExtent,
  fsType: z.enum(['ext4', 'vfat']),
  /** An empty or new directory for the files' contents. */
  directory: path,
  /** Paths from `/` that are left out, with all below them. */
  leaveOut: z.array(z.string()).readonly().default([]),
});

const OLD_NAMES = { folder: 'directory' } as const;

export type ExtractFilesystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Takes a tree out of an image: every entry with its mode and owner as the filesystem has them, its content as a file of
 *  this host. makeFilesystem lays it out again (`entries`), without root on either way.
 *  @throws {UnexpectedStateError} for devices and sockets. Runs: debugfs, mcopy. */
export const extractFilesystem: Step<ExtractFilesystemOptions, TreeEntry[]> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['debugfs', 'mcopy'],
  where: 'host',
  async prepare({ image, partition }) {
    await requireDisk(STEP, image, [partition]);
  },
  detail: ({ fsType }) => fsType,
  async run(step, parsed) {
    const leaveOut = new Set(parsed.leaveOut.map((name) => name.replace(/^\/+|\/+$/g, '')));
    // By its parents: a closure has many store paths, and its image many files.
    const isKept = (name: string): boolean => {
      for (let at = name; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('/'))))
        if (leaveOut.has(at)) return false;
      return true;
    };
    await makeDirectories(parsed.directory);
    const entries = parsed.fsType === 'ext4' ? await extractExt4(step, parsed, isKept) : await extractFat(step, parsed);
    return entries.filter(({ path: name }) => isKept(name));
  },
});

type Parsed = z.output<typeof schema>;

async function extractFat(step: StepRunner, { image, partition, directory }: Parsed): Promise<TreeEntry[]> {
  await using fat = await mtoolsName({ image, ...partition });
  await readWholeFat(step, ['mcopy', '-s', '-n', '-m', '-i', fat.name, '::/*', resolve(directory)], fat.cwd);
  return listTree(step, { root: directory });
}

/** Blocks that are read at once. */
const CHUNK_BLOCKS = 256;

const TYPES: Readonly<Record<string, TreeEntryType>> = {
  regular: 'file',
  directory: 'directory',
  symlink: 'symlink',
  FIFO: 'fifo',
};

async function extractExt4(
  step: StepRunner,
  { image, partition, directory }: Parsed,
  isKept: (name: string) => boolean,
): Promise<TreeEntry[]> {
  const location = ext4Location(STEP, image, partition.offsetBytes);
  const blockBytes = Number((await readExt4Fields(step, location))['Block size']);
  await using disk = await open(image, 'r');
  const blocks = async function* (node: Ext4Node): AsyncGenerator<{ at: number; bytes: Buffer }> {
    const size = Number(node.fields.size);
    for (const { logical, physical, count } of node.extents)
      for (let block = 0; block < count; block += CHUNK_BLOCKS) {
        const at = (logical + block) * blockBytes;
        const bytes = Buffer.alloc(
          Math.min(Math.min(CHUNK_BLOCKS, count - block) * blockBytes, Math.max(0, size - at)),
        );
        await disk.read(bytes, 0, bytes.length, partition.offsetBytes + (physical + block) * blockBytes);
        if (bytes.length > 0) yield { at, bytes };
      }
  };
  const copyOut = async (node: Ext4Node, target: string): Promise<void> => {
    await using file = await open(target, 'wx');
    await file.truncate(Number(node.fields.size));
    for await (const { at, bytes } of blocks(node)) await file.write(bytes, 0, bytes.length, at);
  };
  const readAll = async (node: Ext4Node): Promise<string> => {
    const parts: Buffer[] = [];
    for await (const { bytes } of blocks(node)) parts.push(bytes);
    return Buffer.concat(parts).toString('latin1');
  };
  const entries: TreeEntry[] = [];
  const contents = new Map<Ext4Node, string>();
  for (const [name, node] of await readExt4Nodes(step, location)) {
    if (!isKept(name)) continue;
    const type = TYPES[node.fields.type ?? ''];
    if (type === undefined)
      throw new UnexpectedStateError(STEP, `/${name} is a ${node.fields.type}`, {
        expected: 'a file, a directory, a symbolic link or a FIFO',
      });
    let source = contents.get(node) ?? '';
    if (type === 'file' && source === '') {
      source = join(resolve(directory), `${contents.size}`);
      contents.set(node, source);
      await copyOut(node, source);
    }
    const target = type !== 'symlink' ? '' : (node.fields.target ?? (await readAll(node)));
    entries.push({
      ...{ path: name, type, mode: Number.parseInt(node.fields.mode ?? '', 8) },
      ...{ uid: Number(node.fields.user), gid: Number(node.fields.group), sizeBytes: Number(node.fields.size) },
      ...{ mtime: Math.floor(Date.parse(`${node.fields.mtime} UTC`) / 1000), target },
      source: Buffer.from(source, 'utf8').toString('latin1'),
      hardLink: Number(node.fields.links) > 1 && type === 'file' ? source : undefined,
    });
  }
  return entries;
}
