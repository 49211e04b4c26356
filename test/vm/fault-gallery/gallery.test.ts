import { appendFile, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type BootReport, verifyBoot } from '../../../harness/verify-boot.ts';
import type { BuiltImage } from '../../../lib/build-image.ts';
import { removeTree } from '../../../lib/private-output.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { run } from '../../helpers/run.ts';
import { BrokenImage } from './broken-image.ts';
import { FAULTS, type Fault } from './faults.ts';

// Good images, each broken in one way: the verifier must name the stage and the cause, and never only a deadline.

const BASES: Readonly<Record<Fault['base'], Parameters<typeof demoImage>>> = {
  legacy: ['tiny-grub-bios', { partitionTableType: 'legacy' }],
  hybrid: ['tiny-grub-hybrid', { partitionTableType: 'hybrid' }],
  'systemd-boot': ['tiny-systemd-boot', { partitionTableType: 'efi' }],
};

let folder = '';
const images = new Map<Fault['base'], BuiltImage>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ndi-gallery-'));
  for (const base of Object.keys(BASES) as Fault['base'][]) {
    const [system, options] = BASES[base];
    const way = { bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0, bootSize: '64M' } as const;
    images.set(base, await demoImage(system, { ...options, ...way }));
  }
});

afterAll(() => removeTree(folder));

async function boot({ base, firmware, machine, breakIt }: Fault): Promise<BootReport> {
  const good = images.get(base);
  if (good === undefined) throw new Error(`there is no ${base}`);
  const image = join(await mkdtemp(join(folder, 'fault-')), 'broken.img');
  await run(['cp', '--sparse=always', good.image, image]);
  await breakIt(new BrokenImage(image, good.disk, good.system.toplevel));
  return verifyBoot({ image, firmware, ...machine });
}

/** Lines for the table in docs/verify.md, into the file that FAULT_TABLE names. */
async function note({ fault, firmware }: Fault, { failure, durationMs }: BootReport): Promise<void> {
  const file = process.env.FAULT_TABLE;
  if (file === undefined) return;
  const seen = failure?.seenAtMs;
  const after = seen === undefined ? '' : `${((durationMs - seen) / 1000).toFixed(1)} s`;
  const row = [fault, firmware, failure?.stage, `\`${failure?.name}\``, `${(durationMs / 1000).toFixed(1)} s`, after];
  await appendFile(file, `| ${row.join(' | ')} |\n`);
}

test.concurrent.each(
  FAULTS.map((fault) => [`${fault.fault}, ${fault.firmware}`, fault] as const),
)('%s', async (_, fault) => {
  const report = await boot(fault);
  await note(fault, report);
  expect(report.failure, report.console.slice(-15).join('\n')).toMatchObject({ stage: fault.stage, name: fault.name });
  expect(report.failure?.cause).toMatch(fault.cause);
  expect(report.ok).toBe(false);
});

test.each([
  'legacy',
  'hybrid',
  'systemd-boot',
] as const)('nothing is said of what they were before: %s', async (base) => {
  for (const firmware of base === 'legacy'
    ? (['legacy'] as const)
    : base === 'hybrid'
      ? (['legacy', 'efi'] as const)
      : (['efi'] as const)) {
    const report = await verifyBoot({ image: images.get(base)?.image ?? '', firmware });
    expect(report.failure).toBeUndefined();
    expect(report.warnings).toEqual([]);
  }
});
