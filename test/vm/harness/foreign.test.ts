import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { commandCheck } from '../../../harness/verify/checks.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { foreignImage } from '../../helpers/foreign/foreign-image.ts';
import { run } from '../../helpers/run.ts';
import { tempFolder } from '../../helpers/temp-folder.ts';

// An image that never heard of this project: Debian by mmdebstrap, with GRUB.

const login = { user: 'root', password: 'foreign' };
let image: string;
beforeAll(async () => {
  image = await foreignImage();
});

const facts = async (file: string): Promise<unknown> => [
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex'),
  (await stat(file)).mtimeMs,
];

test.each(['legacy', 'efi'] as const)('it is verified as it is: %s', async (firmware) => {
  const before = await facts(image);
  const report = await verifyBoot({
    image,
    firmware,
    login,
    checks: [commandCheck('grep -q bookworm /etc/os-release')],
  });
  expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
  expect(report.warnings).toEqual([]);
  expect(await facts(image)).toEqual(before);
});

test.each(['legacy', 'efi'] as const)('without a serial console it is judged by its screen: %s', async (firmware) => {
  const folder = await tempFolder();
  const silent = join(folder, 'silent.img');
  await run(['cp', '--sparse=always', image, silent]);
  const at = `./silent.img?offset=${135168 * 512}`;
  await run(['debugfs', '-R', 'dump /boot/grub/grub.cfg grub.cfg', at], { cwd: folder });
  await run(['sed', '-i', 's/ console=ttyS0,115200//', 'grub.cfg'], { cwd: folder });
  const input = 'rm /boot/grub/grub.cfg\ncd /boot/grub\nwrite grub.cfg grub.cfg\n';
  await run(['debugfs', '-w', '-f', '-', at], { cwd: folder, input });

  const asked = await verifyBoot({ image: silent, firmware, login });
  expect(asked.failure, asked.console.slice(-20).join('\n')).toMatchObject({
    name: 'no-serial-console',
    stage: 'login',
  });

  const trusted = await verifyBoot({ image: silent, firmware, login: false });
  expect(trusted.failure).toBeUndefined();
  expect(trusted.warnings.join('\n')).toMatch(/judged by the screen/);
});
