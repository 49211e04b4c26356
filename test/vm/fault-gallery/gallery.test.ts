import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { PASSPHRASE } from './bases/luks.ts';
import { HARMLESS } from './faults/harmless.ts';
import { FAULTS } from './faults.ts';
import { type Gallery, openGallery } from './gallery.ts';
import { GalleryTable } from './table.ts';

// Good images, each broken in one way: the verdict must name the stage and the cause, not just a time limit.

const table = new GalleryTable();
const all = process.env.ALL_VERDICTS !== undefined;
let gallery: Gallery;
beforeAll(async () => {
  gallery = await openGallery();
});
afterAll(async () => {
  await gallery[Symbol.asyncDispose]();
  // For the measurements in docs/verify.md.
  if (process.env.GALLERY_TABLE !== undefined) await table.write(process.env.GALLERY_TABLE);
});

test.concurrent.each(
  FAULTS.filter(({ slow }) => all || slow !== true).map(
    (fault) => [`${fault.fault}, ${fault.firmware}`, fault] as const,
  ),
)('%s', async (_, fault) => {
  const report = await gallery.boot(fault);
  table.add(fault, report);
  expect(report.failure, report.console.slice(-15).join('\n')).toMatchObject({ stage: fault.stage, name: fault.name });
  expect(report.failure?.cause).toMatch(fault.cause);
  expect(report.ok).toBe(false);
});

test.concurrent.each(
  HARMLESS.filter(({ slow }) => all || slow !== true).map((one) => [`${one.fault}, ${one.firmware}`, one] as const),
)('boots in spite of it: %s', async (_, harmless) => {
  const report = await gallery.boot(harmless);
  expect(report.failure, report.console.slice(-15).join('\n')).toBeUndefined();
  expect(report.ok).toBe(true);
});

const GOOD = [
  ['legacy', 'bios', {}],
  ['hybrid', 'bios', {}],
  ['hybrid', 'efi', {}],
  ['systemd-boot', 'efi', {}],
  ['uki', 'efi', {}],
  ['uki-systemd-boot', 'efi', {}],
  ['syslinux', 'bios', {}],
  ['systemd', 'bios', {}],
  ['luks', 'bios', { passphrase: PASSPHRASE }],
] as const;
test.concurrent.each(
  all ? GOOD : GOOD.slice(0, 4),
)('the good image has no failure and no warning: %s, %s', async (base, firmware, options) => {
  const report = await verifyBoot({ image: await gallery.image(base), firmware, ...options });
  expect(report.failure).toBeUndefined();
  expect(report.warnings).toEqual([]);
});
