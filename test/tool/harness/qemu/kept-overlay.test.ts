import { readdir, rename, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { keptOverlay } from '../../../../harness/qemu/kept-overlay.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { inspectDiskImage } from '../../../../lib/programs/disk-image-format.ts';
import { quoteForDisplay } from '../../../../lib/run/errors.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function disk(name = 'nixos: a,b.img') {
  const directory = await tempDirectory();
  const file = join(directory, name);
  await writeFile(file, '');
  await truncate(file, 4 * MIB);
  return { directory, file, image: await inspectDiskImage(file), keep: join(directory, 'kept: a,b.qcow2') };
}

test('a missing file is created, names its image, and is continued', async () => {
  const { file, image, keep } = await disk();
  await keptOverlay(keep, image);
  expect(JSON.parse(await run(['qemu-img', 'info', '--output=json', keep]))).toMatchObject({
    ...{ format: 'qcow2', 'virtual-size': 4 * MIB, 'backing-filename': file, 'backing-filename-format': 'raw' },
  });
  const before = await stat(keep);
  const again = await keptOverlay(keep, image);
  await again.discard();
  expect((await stat(keep)).ino).toBe(before.ino);
});

test('one that was made for a machine that did not start is removed', async () => {
  const { directory, file, image, keep } = await disk();
  await (await keptOverlay(keep, image)).discard();
  expect(await readdir(directory)).toEqual([basename(file)]);
});

test('an image that was moved, or has changed, is refused, with what to do', async () => {
  const { directory, file, image, keep } = await disk();
  await keptOverlay(keep, image);
  const later = new Date(Date.now() + 60_000);
  await utimes(file, later, later);
  await expect(keptOverlay(keep, image)).rejects.toThrow(/has changed since .* was written/);
  const moved = join(directory, 'moved.img');
  await rename(file, moved);
  const refusal = keptOverlay(keep, await inspectDiskImage(moved));
  await expect(refusal).rejects.toThrow(`holds changes to ${file}, not to ${moved}`);
  const hint = await refusal.then(
    () => '',
    (error: { hint: string }) => error.hint,
  );
  await run(['bash', '-euc', hint.replace(/^.*?: /, '')]);
  await utimes(moved, new Date(0), new Date(0));
  expect(await keptOverlay(keep, await inspectDiskImage(moved))).toMatchObject({ file: keep });
});

test('what does not hold changes is not written to', async () => {
  const { directory, file, image, keep } = await disk();
  await writeFile(keep, 'a letter');
  await expect(keptOverlay(keep, image)).rejects.toThrow(/is there, and does not hold changes to an image/);
  await expect(keptOverlay(file, image)).rejects.toThrow(/does not hold changes/);
  await expect(keptOverlay(directory, image)).rejects.toThrow(/is a directory/);
  await expect(keptOverlay(join(directory, 'no/such'), image)).rejects.toThrow(/there is no directory/);
});

test('by itself it is not an image; the refusal says how it is run', async () => {
  const { file, image, keep } = await disk();
  await keptOverlay(keep, image);
  await expect(inspectImage({ image: keep })).rejects.toThrow(
    `nixos-disk-image run ${quoteForDisplay(file)} --keep ${quoteForDisplay(keep)}`,
  );
});
