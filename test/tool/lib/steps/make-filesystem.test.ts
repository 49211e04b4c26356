import { randomBytes } from 'node:crypto';
import { chown, link, mkdir, open, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TreeEntry } from '../../../../lib/filesystem/tree.ts';
import { NoSpaceError } from '../../../../lib/run/errors.ts';
import { computeDiskSize } from '../../../../lib/steps/compute-disk-size.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { tuneFilesystem } from '../../../../lib/steps/tune-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const GUID = 'F222513B-DED1-49FA-B591-20CE86A2FE7F';
const NO_LINK = { target: '', hardLink: undefined };

async function populated(root: string, directory: string, additionalSpace: string | number) {
  const image = join(directory, 'disk.img');
  const size = await computeDiskSize({ stagedRoot: root, partitionTableType: 'legacy+gpt', additionalSpace });
  await createDisk({ image, sizeBytes: size.diskBytes });
  const disk = await partitionDisk({ image, partitionTableType: 'legacy+gpt' });
  const filesystem = await makeFilesystem({
    image,
    partition: disk.root,
    inodeCount: size.inodeCount,
    populateFrom: root,
    uuid: GUID,
  });
  return { image, size, disk, filesystem, at: `disk.img?offset=${disk.root.offsetBytes}` };
}

test('the staged tree is at the offset, owned by root, with its links and holes', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  await mkdir(join(root, 'bin'), { recursive: true });
  await writeFile(join(root, 'bin/tool'), 'tool', { mode: 0o4755 });
  await link(join(root, 'bin/tool'), join(root, 'bin/same'));
  await symlink('tool', join(root, 'bin/link'));
  const sparse = await open(join(root, 'sparse'), 'w');
  await sparse.truncate(64 * MIB);
  await sparse.close();
  if (process.getuid?.() === 0) await chown(join(root, 'bin/tool'), 1234, 5678);
  const { filesystem, at } = await populated(root, directory, '16M');
  expect(filesystem).toMatchObject({ uuid: 'f222513b-ded1-49fa-b591-20ce86a2fe7f', label: 'nixos' });
  const facts = await run(['debugfs', '-R', 'stat /bin/tool', at], { cwd: directory });
  expect(facts).toMatch(/User: +0 +Group: +0/);
  expect(facts).toMatch(/Links: 2/);
  expect(await run(['debugfs', '-R', 'stat /sparse', at], { cwd: directory })).toMatch(/Blockcount: 0/);
  expect(await run(['debugfs', '-R', 'cat /bin/tool', at], { cwd: directory })).toBe('tool');
  await run(['e2fsck', '-fn', at], { cwd: directory });
});

/** Alternating data and zeros, in blocks and in pieces that are not aligned to blocks. */
async function patchy(file: string, bytes: number, pieces: number): Promise<void> {
  const content = Buffer.alloc(bytes);
  for (let piece = 0; piece < pieces; piece += 1) {
    const start = Math.floor((piece * bytes) / pieces);
    content.fill(randomBytes(1 + (piece % 7) * 3000), start, start + 1 + ((piece * 7919) % 20_000));
  }
  await writeFile(file, content);
}

test('every byte is that of the source, with any holes, on a disk that was full of other data', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  await mkdir(root);
  await writeFile(join(root, 'naïve — "quoted"'), 'x'.repeat(4097));
  await patchy(join(root, 'few'), 1_000_001, 3);
  // More extents than fit into an inode, and more than fit into a block.
  await patchy(join(root, 'many'), 40 * MIB + 1, 900);
  // Longer than an extent.
  await writeFile(join(root, 'long'), randomBytes(1000).toString('hex').repeat(100_000));
  await writeFile(join(root, 'zeros'), Buffer.alloc(100_000));
  const sparse = await open(join(root, 'sparse'), 'w');
  await sparse.write('data', 300 * MIB);
  await sparse.close();
  const huge = await open(join(root, 'huge'), 'w');
  await huge.write('end', 2 ** 32 + 4095);
  await huge.close();
  const image = join(directory, 'disk.img');
  const sizeBytes = 320 * MIB;
  await run(['sh', '-c', `yes garbage | head -c ${sizeBytes} > disk.img`], { cwd: directory });
  const partition = { offsetBytes: 0, sizeBytes };
  const makes = async (): Promise<void> => {
    await makeFilesystem({ image, partition, populateFrom: root, timestamp: 1, uuid: GUID, hashSeed: GUID });
  };
  await makes();
  await run(['e2fsck', '-fn', image]);
  for (const name of ['naïve — "quoted"', 'few', 'many', 'long', 'zeros', 'sparse']) {
    const quoted = name.replaceAll('"', '""');
    await run(['debugfs', '-R', `dump "/${quoted}" out`, image], { cwd: directory });
    await run(['cmp', join(root, name), join(directory, 'out')]);
  }
  expect(await run(['debugfs', '-R', 'stat /zeros', image])).toMatch(/Blockcount: 0/);
  // Two blocks of 4096 bytes, counted in sectors.
  expect(await run(['debugfs', '-R', 'stat /huge', image])).toMatch(/Size: 4294971394\n.*\n.*Blockcount: 16/);

  // It makes no difference how the source filesystem stores the zeros.
  const first = await run(['sha256sum', image]);
  await run(['cp', '--sparse=always', join(root, 'many'), join(directory, 'out')]);
  await run(['mv', join(directory, 'out'), join(root, 'many')]);
  await makes();
  expect(await run(['sha256sum', image])).toBe(first);
});

test('an unreadable file is named', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'file'), 'x');
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 20 * MIB });
  const entries: TreeEntry[] = [
    {
      path: 'f',
      type: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      sizeBytes: 9,
      mtime: 1,
      source: join(directory, 'file'),
      ...NO_LINK,
    },
    {
      path: 'g',
      type: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      sizeBytes: 9,
      mtime: 1,
      source: join(directory, 'gone'),
      ...NO_LINK,
    },
  ];
  const partition = { offsetBytes: 0, sizeBytes: 20 * MIB };
  const make = (entry: TreeEntry | undefined) =>
    makeFilesystem({ image, partition, files: entry === undefined ? [] : [entry] });
  await expect(make(entries[0])).rejects.toThrow(`${join(directory, 'file')} changed while it was being read`);
  await expect(make(entries[1])).rejects.toThrow(join(directory, 'gone'));
});

test('a lack of space is reported in bytes and inodes, needed and available', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  await mkdir(root);
  await writeFile(join(root, 'big'), Buffer.alloc(40 * MIB, 1));
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 20 * MIB });
  const attempt = makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 20 * MIB }, populateFrom: root });
  await expect(attempt).rejects.toThrow(NoSpaceError);
  await expect(attempt).rejects.toMatchObject({ availableBytes: 20 * MIB, neededInodes: 2 });
});

test('ten thousand tiny files fit into the size from computeDiskSize without additional space', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  for (let directory = 0; directory < 100; directory += 1) {
    await mkdir(join(root, `${directory}`), { recursive: true });
    await Promise.all(Array.from({ length: 100 }, (_, index) => writeFile(join(root, `${directory}/${index}`), 'x')));
  }
  const { filesystem } = await populated(root, directory, 0);
  expect(filesystem.freeInodes).toBeGreaterThan(0);
});

/** Lists the contents of a tree. */
const entry = fc.oneof(
  fc.record({ kind: fc.constant('file' as const), bytes: fc.nat(300_000) }),
  fc.record({ kind: fc.constant('tiny' as const), count: fc.integer({ min: 1, max: 400 }) }),
  fc.record({ kind: fc.constant('hole' as const), bytes: fc.integer({ min: 1, max: 30 * MIB }) }),
  fc.record({ kind: fc.constant('hard link' as const), count: fc.integer({ min: 1, max: 50 }) }),
  fc.record({ kind: fc.constant('long name' as const), count: fc.integer({ min: 1, max: 200 }) }),
  fc.record({ kind: fc.constant('long link' as const), count: fc.integer({ min: 1, max: 50 }) }),
  fc.record({ kind: fc.constant('empty' as const), count: fc.integer({ min: 1, max: 300 }) }),
);

test('the filesystem has the staged tree, for any tree', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 6 }), async (tree) => {
      const directory = await tempDirectory();
      const root = join(directory, 'root');
      await mkdir(root);
      for (const [index, part] of tree.entries()) {
        const at = join(root, `${index}`);
        await mkdir(at);
        if (part.kind === 'file') await writeFile(join(at, 'file'), Buffer.alloc(part.bytes, 7));
        else if (part.kind === 'hole') {
          const handle = await open(join(at, 'hole'), 'w');
          for (let offset = 0; offset < part.bytes; offset += 128 * 1024)
            await handle.write(Buffer.from('x'), 0, 1, offset);
          await handle.close();
        } else
          for (let count = 0; count < part.count; count += 1) {
            const name = `${count}`;
            if (part.kind === 'tiny') await writeFile(join(at, name), 'x');
            else if (part.kind === 'long name') await writeFile(join(at, name.padEnd(255, 'n')), '');
            else if (part.kind === 'long link') await symlink('t'.repeat(4000), join(at, name));
            else if (part.kind === 'empty') await mkdir(join(at, name));
            else if (count === 0) await writeFile(join(at, 'original'), 'x'.repeat(10_000));
            else await link(join(at, 'original'), join(at, name));
          }
      }
      const { at, filesystem } = await populated(root, directory, 0);
      expect(filesystem.sizeBytes).toBeGreaterThan(0);
      await run(['e2fsck', '-fn', at], { cwd: directory });
    }),
    { numRuns: 12 },
  );
});

test('after tuning, resize2fs accepts the filesystem without a check', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 64 * MIB });
  await makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 64 * MIB } });
  // As after a mount: modified since the last check.
  await run(['debugfs', '-w', '-R', 'set_super_value lastcheck 20000101', image]);
  const { lastChecked } = await tuneFilesystem({ device: image });
  expect(new Date(lastChecked).getTime()).toBeGreaterThan(Date.now() - 60_000);
  await run(['truncate', '-s', '96M', image]);
  await run(['resize2fs', image]);
});

test('a root with a name like an option is a directory', async () => {
  const directory = await tempDirectory();
  await mkdir(join(directory, '-delete'));
  await writeFile(join(directory, 'victim'), 'x');
  // vitest's workers cannot chdir: the name is resolved in this process's directory, where it does not exist.
  await expect(computeDiskSize({ stagedRoot: '-delete' })).rejects.toThrow(/stagedRoot: -delete does not exist/);
});

test('a missing image is not created, and a small one is not written past its end', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  const partition = { offsetBytes: MIB, sizeBytes: 64 * MIB };
  await expect(makeFilesystem({ image, partition })).rejects.toThrow(/does not exist/);
  await createDisk({ image, sizeBytes: 16 * MIB });
  await expect(makeFilesystem({ image, partition })).rejects.toThrow(/the partition ends at/);
  expect((await stat(image)).size).toBe(16 * MIB);
});

test('times before 1970 and after 2038 are kept', async () => {
  const directory = await tempDirectory();
  const root = join(directory, 'root');
  const image = join(directory, 'disk.img');
  const partition = { offsetBytes: MIB, sizeBytes: 32 * MIB };
  await mkdir(root, { recursive: true });
  const times = { old: -86_400, last: 2 ** 31 - 1, far: 2 ** 31, later: 2 ** 33 };
  for (const [name, seconds] of Object.entries(times)) {
    await writeFile(join(root, name), name);
    // Node's utimes treats a time before 1970 as the current time.
    await run(['touch', '-d', `@${seconds}`, join(root, name)]);
  }
  await createDisk({ image, sizeBytes: 40 * MIB });
  await makeFilesystem({ image, partition, populateFrom: root });
  const at = `./disk.img?offset=${MIB}`;
  for (const [name, seconds] of Object.entries(times)) {
    const stat = await run(['debugfs', '-R', `stat /${name}`, at], { cwd: directory, env: { TZ: 'UTC' } });
    // Compare the bits: not every version of debugfs prints the date that Linux reads from them.
    const low = (seconds >>> 0).toString(16).padStart(8, '0');
    const epoch = (seconds - (seconds | 0)) / 2 ** 32;
    for (const time of ['mtime', 'ctime', 'crtime'])
      expect(stat, name).toMatch(new RegExp(`${time}: 0x${low}:0000000${epoch} --`));
  }
  await run(['e2fsck', '-fn', at], { cwd: directory });
});
