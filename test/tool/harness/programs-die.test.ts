import { afterEach, expect, test, vi } from 'vitest';
import { chooseAccelerator } from '../../../harness/builder/accelerator.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { expectHostFailure, programsRunBy } from '../../helpers/replaced-programs.ts';
import { makeSmallDisk } from '../../helpers/small-disk.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

afterEach(() => {
  vi.unstubAllEnvs();
});

test('verify: each program that it runs is killed, and exits with 77: nothing is said of the image', async () => {
  await chooseAccelerator();
  // One that comes to nothing within seconds, so that all that is run has been run.
  const { image } = await makeSmallDisk(await tempDirectory(), {});
  const boot = () => verifyBoot({ image, firmware: 'bios', accelerator: 'tcg' });
  const run = await programsRunBy(async () => expect((await boot()).ok).toBe(false));
  expect(run).toEqual(expect.arrayContaining(['blkid', 'qemu-img', 'qemu-system-x86_64']));
  // Reading the screen is an extra.
  for (const name of run.filter((one) => one !== 'tesseract')) await expectHostFailure(name, boot);
});
