import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderText } from '../../../../harness/report/text.ts';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import { shrinkImage } from '../../../../lib/steps/shrink-image.ts';
import { MIB } from '../../../../lib/units.ts';
import { demoImage } from '../../../helpers/demo-image.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

test.each([
  ['tiny-grub-bios', 'legacy', 'bios'],
  ['tiny-grub-hybrid', 'hybrid', 'bios'],
] as const)('a shrunk image boots: %s, %s', async (system, partitionTableType, firmware) => {
  const built = await demoImage(system, { partitionTableType, bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 });
  const image = join(await tempDirectory(), 'small.img');
  await copyFile(built.image, image);
  const { virtualBytes } = await shrinkImage({ image, additionalSpace: '4M' });
  expect(virtualBytes).toBeLessThan(built.virtualBytes - 32 * MIB);
  const report = await verifyBoot({ image, firmware });
  expect(report.ok, renderText(report)).toBe(true);
  expect(report.warnings).toEqual([]);
});
