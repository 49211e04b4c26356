import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { ROOT } from '../../helpers/foreign/foreign-boots.ts';
import { foreignImage } from '../../helpers/foreign/foreign-image.ts';

// Debian from mmdebstrap with GRUB: an image without any part of this project.

const facts = async (file: string): Promise<unknown> => [
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex'),
  (await stat(file)).mtimeMs,
];

test('verification does not change the image', async () => {
  const image = await foreignImage('debian-12');
  const before = await facts(image);
  const report = await verifyBoot({ image, firmware: 'bios', login: ROOT });
  expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
  expect(report.warnings).toEqual([]);
  expect(await facts(image)).toEqual(before);
});
