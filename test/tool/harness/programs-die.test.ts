import { afterEach, expect, test, vi } from 'vitest';
import { chooseAccelerator } from '../../../harness/builder/accelerator.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { expectHostFailure, programsRunBy } from '../../helpers/replaced-programs.ts';
import { makeSmallDisk } from '../../helpers/small-disk.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

test('verify: if a program is killed, or exits with 77, there is no verdict on the image', async () => {
  await chooseAccelerator();
  // A boot that fails within seconds, so that all programs have run.
  const { image } = await makeSmallDisk(await tempDirectory(), {});
  const boot = () => verifyBoot({ image, firmware: 'bios', accelerator: 'tcg' });
  const run = await programsRunBy(async () => expect((await boot()).ok).toBe(false));
  expect(run).toEqual(expect.arrayContaining(['blkid', 'qemu-img', 'qemu-system-x86_64']));
  // Reading the screen is optional.
  for (const name of run.filter((one) => one !== 'tesseract')) await expectHostFailure(name, boot);
});
