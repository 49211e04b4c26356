import { appendFile, copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { EXIT, errorText, exitCodeOf } from '../../../../cli/exit-codes.ts';
import { renderInspection } from '../../../../cli/inspect.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { IMAGE_FORMATS } from '../../../../lib/formats/image-formats.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { printableJson } from '../../../../lib/printable.ts';
import { DiskImageError } from '../../../../lib/run/errors.ts';
import { convertImage } from '../../../../lib/steps/convert-image.ts';
import { MIB } from '../../../../lib/units.ts';
import { corrupt, QCOW2_REGIONS, Random, regionsOf, withPatches } from '../../../helpers/corruptions.ts';
import { KERNEL, SYSTEMD_BOOT, uki } from '../../../helpers/pe-file.ts';
import { run } from '../../../helpers/run.ts';
import { makeSmallDisk } from '../../../helpers/small-disk.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// For any image, inspect and diff end with a result or an error of this project, in bounded time and with bounded output.
// NIXOS_DISK_IMAGE_CORRUPTIONS is the number of corruptions, _FROM the first one and _SEED the seed; _LOG is a file for the
// outcomes.

const COUNT = Number(process.env.NIXOS_DISK_IMAGE_CORRUPTIONS ?? 200);
const FROM = Number(process.env.NIXOS_DISK_IMAGE_CORRUPTIONS_FROM ?? 0);
const SEED = Number(process.env.NIXOS_DISK_IMAGE_CORRUPTIONS_SEED ?? 1);
const LOG = process.env.NIXOS_DISK_IMAGE_CORRUPTIONS_LOG;
/** Twice their own time limit, for a loaded host. */
const MOST_MS = 120_000;
const MOST_BYTES = 1024 * 1024;
const MOST_LINES = 600;

const FILES = {
  'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT,
  'EFI/Linux/one.efi': uki('console=ttyS0'),
  'loader/loader.conf': 'default a*\n',
  'loader/entries/a.conf': 'title A\nlinux /nixos/kernel-with-a-long-name.efi\noptions console=ttyS0\n',
  'grub/grub.cfg': 'menuentry "x" {\nlinux /k\n}\n',
  'nixos/kernel-with-a-long-name.efi': KERNEL,
};

/** The outcome: an exit status and the size of the output. */
async function outcome(look: () => Promise<string>, what: string): Promise<string> {
  const startedAt = performance.now();
  let status: string;
  let said: string;
  try {
    said = await look();
    status = 'result';
  } catch (error) {
    // Not an error of the project: a bug, so keep its stack.
    if (!(error instanceof DiskImageError)) throw new Error(`${what}: ${error}`, { cause: error });
    said = errorText(error);
    status = `${exitCodeOf(error)}`;
    expect([EXIT.wrong, EXIT.usage, EXIT.harness].map(String), what).toContain(status);
  }
  const tooLong = performance.now() - startedAt > MOST_MS;
  const flood = Buffer.byteLength(said) > MOST_BYTES;
  if (tooLong || flood) throw new Error(`${what}: ${tooLong ? 'takes too long' : `says ${said.length} characters`}`);
  const took = performance.now() - startedAt;
  if (LOG !== undefined && took > 3000) await appendFile(LOG, `${what}: ${took.toFixed(0)} ms\n`);
  if (LOG !== undefined && status === '3') await appendFile(LOG, `${what}: ${said.split('\n')[0]}\n`);
  return status;
}

/** Runs inspect on a file, and diff on it and the good image. */
async function outcomes(good: string, file: string, what: string): Promise<string[]> {
  const inspected = await outcome(async () => {
    const inspection = await inspectImage({ image: file });
    const text = renderInspection(inspection);
    expect(text.split('\n').length, what).toBeLessThan(MOST_LINES);
    expect(text.replaceAll('\n', ''), what).not.toMatch(/\p{Cc}/u);
    return text + printableJson(inspection);
  }, `${what}: inspect`);
  const compared = await outcome(async () => printableJson(await diffImages({ a: good, b: file })), `${what}: diff`);
  return [`inspect ${inspected}`, `diff ${compared}`];
}

function count(counts: Map<string, number>, keys: readonly string[]): void {
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
}

test(`${COUNT} corruptions of an image`, { timeout: 60_000 + COUNT * 6000 }, async () => {
  const directory = await tempDirectory();
  const disk = await makeSmallDisk(directory, FILES);
  const [bad, qcow2, badQcow2] = ['bad.img', 'good.qcow2', 'bad.qcow2'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await copyFile(disk.image, bad);
  await run(['qemu-img', 'convert', '-O', 'qcow2', disk.image, qcow2]);
  await copyFile(qcow2, badQcow2);
  const [raw, container] = [await readFile(disk.image), await readFile(qcow2)];
  const regions = regionsOf(disk, raw);
  const random = new Random(SEED);
  const counts = new Map<string, number>();
  for (let index = 0; index < FROM + COUNT; index += 1) {
    const inContainer = random.below(8) === 0;
    const region = random.pick(inContainer ? QCOW2_REGIONS : regions);
    const [file, good, bytes] = inContainer ? [badQcow2, qcow2, container] : [bad, disk.image, raw];
    const what = `corruption ${index} of seed ${SEED}, ${region.name}`;
    const patches = corrupt(random, region, bytes);
    if (index < FROM) continue;
    await withPatches(file, patches, async () => count(counts, await outcomes(good, file, what)));
  }
  if (LOG !== undefined) await appendFile(LOG, `${JSON.stringify(Object.fromEntries(counts))}\n`);
  expect([...counts.values()].reduce((sum, count) => sum + count, 0)).toBe(2 * COUNT);
  // Most must be readable: otherwise a reader that refuses everything would pass.
  expect(counts.get('inspect result')).toBeGreaterThan(COUNT * 0.8);
});

const CONTAINERS = IMAGE_FORMATS.filter((format) => !['raw', 'qcow2', 'qcow2-compressed'].includes(format));

test.each(CONTAINERS)('corruptions of the tables of a %s', { timeout: 60_000 + COUNT * 1000 }, async (format) => {
  const directory = await tempDirectory();
  const { image } = await makeSmallDisk(directory, FILES);
  const [good, bad] = [join(directory, 'good'), join(directory, 'bad')];
  await convertImage({ source: image, target: good, format });
  await copyFile(good, bad);
  const bytes = await readFile(good);
  const regions = [
    { name: 'header', at: 0, size: 1024 },
    { name: 'tables', at: 0, size: Math.min(bytes.length, 4 * MIB) },
    { name: 'end', at: bytes.length - 512, size: 512 },
  ];
  const random = new Random(SEED);
  const counts = new Map<string, number>();
  const most = Math.ceil(COUNT / 20);
  for (let index = 0; index < most; index += 1) {
    const region = random.pick(regions);
    const what = `corruption ${index} of seed ${SEED}, ${format} ${region.name}`;
    const patches = corrupt(random, region, bytes);
    await withPatches(bad, patches, async () => count(counts, await outcomes(good, bad, what)));
  }
  if (LOG !== undefined) await appendFile(LOG, `${format} ${JSON.stringify(Object.fromEntries(counts))}\n`);
  expect([...counts.values()].reduce((sum, one) => sum + one, 0)).toBe(2 * most);
});
