import { appendFile, mkdtemp, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { InvalidOptionsError } from '../../../lib/run/errors.ts';
import { formatDuration } from '../../../lib/units.ts';
import { corrupt, type Patch, QCOW2_REGIONS, Random, type Region, regionsOf } from '../../helpers/corruptions.ts';
import { type PlainBoot, plainBoot, SAYS_DAMAGE } from '../../helpers/plain-boot.ts';
import { run } from '../../helpers/run.ts';
import { Bases, copySparse } from '../fault-gallery/bases/bases.ts';

// Compares verdicts on corrupted images with manual boots. NIXOS_DISK_IMAGE_BOOTED_CORRUPTIONS is the number of corruptions, _FROM
// the first one and _SEED the seed; _LOG is a file for the outcomes.

const COUNT = Number(process.env.NIXOS_DISK_IMAGE_BOOTED_CORRUPTIONS ?? 6);
const FROM = Number(process.env.NIXOS_DISK_IMAGE_BOOTED_CORRUPTIONS_FROM ?? 0);
const SEED = Number(process.env.NIXOS_DISK_IMAGE_BOOTED_CORRUPTIONS_SEED ?? 1);
const LOG = process.env.NIXOS_DISK_IMAGE_BOOTED_CORRUPTIONS_LOG;
/** The results of a manual boot and of verifyBoot. */
const AT_ONCE = 3;

interface Corruption {
  readonly what: string;
  readonly format: 'raw' | 'qcow2';
  readonly firmware: 'bios' | 'efi';
  readonly patches: readonly Patch[];
}

let directory: string;
let good: Record<Corruption['format'], string>;
const corruptions: Corruption[] = [];

beforeAll(async () => {
  directory = await mkdtemp('/var/tmp/ndi-corruptions-');
  const { image, disk } = await new Bases(directory).get('hybrid');
  if (disk.esp === undefined) throw new Error('a hybrid image has an ESP');
  const container = join(directory, 'good.qcow2');
  await run(['qemu-img', 'convert', '-O', 'qcow2', image, container]);
  good = { raw: image, qcow2: container };
  const bytes = { raw: await readFile(image), qcow2: await readFile(container) };
  const regions = regionsOf({ esp: disk.esp.offsetBytes, root: disk.root.offsetBytes }, bytes.raw);
  const random = new Random(SEED);
  for (let index = 0; index < FROM + COUNT; index += 1) {
    const format: Corruption['format'] = random.below(8) === 0 ? 'qcow2' : 'raw';
    const region: Region = random.pick(format === 'qcow2' ? QCOW2_REGIONS : regions);
    const firmware = random.pick(['bios', 'efi'] as const);
    const patches = corrupt(random, region, bytes[format]);
    const one: Corruption = {
      what: `corruption ${index} of seed ${SEED}, ${region.name}, ${firmware}`,
      format,
      firmware,
      patches,
    };
    if (index >= FROM) corruptions.push(one);
  }
});
afterAll(() => removeTree(directory));

test(
  `${COUNT} corruptions have the verdict that a boot by hand has`,
  { timeout: 120_000 + COUNT * 200_000 },
  async () => {
    let next = 0;
    const wrong: string[] = [];
    const counts = new Map<string, number>();
    const lane = async (): Promise<void> => {
      for (let one = corruptions[next++]; one !== undefined; one = corruptions[next++]) {
        const { outcome, isWrong } = await compare(one);
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
        if (isWrong) wrong.push(`${one.what}: ${outcome}`);
        if (LOG !== undefined) await appendFile(LOG, `${isWrong ? 'WRONG ' : ''}${one.what}: ${outcome}\n`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    expect(wrong).toEqual([]);
    expect([...counts.values()].reduce((sum, count) => sum + count, 0)).toBe(COUNT);
  },
);

async function compare({ format, firmware, patches }: Corruption): Promise<{ outcome: string; isWrong: boolean }> {
  const work = await mkdtemp(join(directory, 'boot-'));
  const image = join(work, `bad.${format === 'raw' ? 'img' : format}`);
  try {
    await copySparse(good[format], image);
    const handle = await open(image, 'r+');
    for (const { at, bytes } of patches) await handle.write(bytes, 0, bytes.length, at);
    await handle.close();
    const byHand = await plainBoot(image, format, firmware, { directory: work });
    const report = await verifyBoot({ image, format, firmware }).catch((error: unknown) => {
      // A file that QEMU does not open is not a disk image.
      if (error instanceof InvalidOptionsError) return error;
      throw error;
    });
    if (report instanceof InvalidOptionsError)
      return { outcome: `by hand it ${told(byHand)}; it is refused: ${report.message}`, isWrong: byHand.boots };
    const { ok, failure, durationMs, console } = report;
    const verdict = ok ? 'GOOD' : `${failure?.name} in ${failure?.stage}: ${failure?.cause}`;
    const wrong = isWrong(byHand, failure);
    const shown = wrong ? ` after ${formatDuration(durationMs)}\n${console.slice(-12).join('\n')}` : '';
    return { outcome: `by hand it ${told(byHand)}; the verdict is ${verdict}${shown}`, isWrong: wrong };
  } finally {
    await removeTree(work);
  }
}

function told({ boots, text }: PlainBoot): string {
  return boots ? `boots${SAYS_DAMAGE.test(text) ? ', and reports damage' : ''}` : 'does not boot';
}

/** A failure in the image itself may concern data that this boot did not use. */
function isWrong(byHand: PlainBoot, failure: { readonly stage: string } | undefined): boolean {
  if (failure === undefined) return !byHand.boots;
  return byHand.boots && failure.stage !== 'image' && !SAYS_DAMAGE.test(byHand.text);
}
