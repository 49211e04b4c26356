import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { EXIT, exitCodeOf } from '../../../../cli/exit-codes.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { InvalidOptionsError } from '../../../../lib/run/errors.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// A file that is not a disk as a machine sees it is refused, with its format and what to do.

async function refused(image: string): Promise<InvalidOptionsError> {
  const error = await inspectDiskImage(image).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InvalidOptionsError);
  expect(exitCodeOf(error)).toBe(EXIT.usage);
  return error as InvalidOptionsError;
}

test.each([
  ['vmdk', ['-o', 'subformat=monolithicFlat'], /is the descriptor of a VMDK disk image/],
  ['vmdk', ['-o', 'subformat=twoGbMaxExtentSparse'], /is the descriptor of a VMDK disk image/],
])('%s %j', async (format, options, name) => {
  const directory = await tempDirectory();
  await run(['truncate', '-s', '4M', 'raw'], { cwd: directory });
  await run(['qemu-img', 'convert', '-O', format, ...options, 'raw', 'image'], { cwd: directory });
  const { message, hint } = await refused(join(directory, 'image'));
  expect(message).toMatch(name);
  // Following the advice literally must produce a readable disk.
  expect(hint).toContain('qemu-img convert');
  await run(['qemu-img', 'convert', '-f', format, '-O', 'raw', 'image', 'disk.img'], { cwd: directory });
  expect(await inspectDiskImage(join(directory, 'disk.img'))).toMatchObject({
    format: 'raw',
    virtualBytes: 4 * 1024 ** 2,
  });
});

test.each([
  ['gzip', ['gzip', '-k', 'raw'], 'raw.gz', /compressed with gzip/, /gunzip/],
  ['xz', ['xz', '-k', 'raw'], 'raw.xz', /compressed with xz/, /unxz/],
  ['bzip2', ['bzip2', '-k', 'raw'], 'raw.bz2', /compressed with bzip2/, /bunzip2/],
  ['zstd', ['zstd', '-q', 'raw'], 'raw.zst', /compressed with zstd/, /unzstd/],
  ['lz4', ['lz4', '-q', 'raw', 'raw.lz4'], 'raw.lz4', /compressed with lz4/, /unlz4/],
  ['tar', ['tar', '-cf', 'raw.ova', 'raw'], 'raw.ova', /a tar archive, as an OVA is/, /tar -xf/],
])('%s', async (_, pack, name, what, hint) => {
  const directory = await tempDirectory();
  await run(['truncate', '-s', '4M', 'raw'], { cwd: directory });
  await run(pack, { cwd: directory });
  const error = await refused(join(directory, name));
  expect(error.message).toMatch(what);
  expect(error.hint).toMatch(hint);
  await expect(inspectImage({ image: join(directory, name) })).rejects.toThrow(what);
  await expect(diffImages({ a: join(directory, 'raw'), b: join(directory, name) })).rejects.toThrow(what);
});

test('a zip archive, and a CD-ROM without a partition table', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'disk.zip'), Buffer.concat([Buffer.from('PK\u0003\u0004'), Buffer.alloc(2_000_000)]));
  expect((await refused(join(directory, 'disk.zip'))).message).toMatch(/a zip archive/);
  const cd = Buffer.alloc(2_000_000);
  cd.write('\u0001CD001\u0001', 0x8000, 'latin1');
  await writeFile(join(directory, 'cd.iso'), cd);
  expect((await refused(join(directory, 'cd.iso'))).message).toMatch(/CD-ROM image/);
  // A hybrid image, which can also be written to USB sticks.
  cd[450] = 0x17;
  cd.writeUInt32LE(3000, 458);
  cd.writeUInt16LE(0xaa55, 510);
  await writeFile(join(directory, 'hybrid.iso'), cd);
  expect(await inspectImage({ image: join(directory, 'hybrid.iso') })).toMatchObject({ table: 'msdos' });
});

test('a file that would block on open is refused at once', async () => {
  const directory = await tempDirectory();
  await run(['mkfifo', 'pipe'], { cwd: directory });
  const server = createServer().listen(join(directory, 's'));
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  for (const [path, what] of [
    [join(directory, 'pipe'), /is a named pipe \(FIFO\), not a disk image/],
    [join(directory, 's'), /is a socket, not a disk image/],
    ['/dev/zero', /is a character device, not a disk image/],
    [directory, /is a directory, not a disk image/],
  ] as const) {
    expect((await refused(path)).message).toMatch(what);
    await expect(diffImages({ a: path, b: path })).rejects.toThrow(what);
  }
});

test('a file name reaches no shell', async () => {
  const directory = await tempDirectory();
  const name = 'x$(touch F)`touch G`|touch H;?offset=1.img';
  await run(['mkfs.ext4', '-q', '-F', '-L', 'here', `./copy`, '16M'], { cwd: directory });
  await run(['cp', 'copy', name], { cwd: directory });
  expect((await inspectImage({ image: join(directory, name), deep: true })).filesystem).toMatchObject({
    label: 'here',
  });
  expect(await diffImages({ a: join(directory, name), b: join(directory, 'copy') })).toEqual([]);
  expect((await run(['ls'], { cwd: directory })).trim().split('\n').sort()).toEqual(['copy', name].sort());
});
