import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { EXIT, errorText, exitCodeOf } from '../../../../cli/exit-codes.ts';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { KERNEL, SYSTEMD_BOOT } from '../../../helpers/pe-file.ts';
import { expectHostFailure, programsRunBy, replacePrograms } from '../../../helpers/replaced-programs.ts';
import { run } from '../../../helpers/run.ts';
import { makeSmallDisk } from '../../../helpers/small-disk.ts';
import { inSmallTmpfs } from '../../../helpers/small-tmpfs.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// If a program is killed, for example by the kernel when memory is short, or ends with an undocumented status, there is no finding
// or difference: exit status 3 with its name.

afterEach(() => {
  vi.unstubAllEnvs();
});

const FILES = {
  'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT,
  'loader/entries/a.conf': 'linux /k\noptions console=ttyS0\n',
  k: KERNEL,
};

/** A qcow2 disk, and one with differences in the ESP, in the ext4 and in a partition without a filesystem. */
async function disks(directory: string): Promise<{ readonly a: string; readonly b: string }> {
  const { image, root } = await makeSmallDisk(directory, FILES);
  const [a, b] = [join(directory, 'a.qcow2'), join(directory, 'b.img')];
  await run(['qemu-img', 'convert', '-O', 'qcow2', image, a]);
  await run(['cp', image, b]);
  await run(['debugfs', '-w', '-R', 'sif /nix uid 5', `./b.img?offset=${root}`], { cwd: directory });
  return { a, b };
}

const COMMANDS = {
  inspect: {
    programs: ['blkid', 'e2fsck', 'flock', 'fsck.vfat', 'qemu-img'],
    look: ({ a }: { readonly a: string }) => inspectImage({ image: a, deep: true }),
  },
  diff: {
    programs: ['blkid', 'flock', 'qemu-img'],
    look: (both: { readonly a: string; readonly b: string }) => diffImages(both),
  },
};

for (const [command, { programs, look }] of Object.entries(COMMANDS))
  test(`${command}: each of its programs is killed, or exits with 77`, async () => {
    const both = await disks(await tempDirectory());
    const good = await look(both);
    let seen: unknown;
    const run = await programsRunBy(async () => {
      seen = await look(both);
    });
    expect(seen).toEqual(good);
    expect(run).toEqual(programs);
    for (const name of run) await expectHostFailure(name, () => look(both));
  });

test('output of qemu-img that is not JSON is a failure of the host', async () => {
  const { a } = await disks(await tempDirectory());
  await replacePrograms(() => 'echo "{"', ['qemu-img']);
  const error = await inspectImage({ image: a }).catch((thrown: unknown) => thrown);
  expect(exitCodeOf(error)).toBe(EXIT.harness);
  expect(errorText(error)).toMatch(/qemu-img/);
});

test('a full directory for temporary files is a failure of the host', async () => {
  const { a, b } = await disks(await tempDirectory());
  const full = await tempDirectory();
  for (const argv of [
    ['inspect', a],
    ['inspect', '--deep', b],
    ['diff', a, b],
  ]) {
    const command = ['env', `TMPDIR=${full}`, process.execPath, packageFile('dist/cli/main.js'), ...argv];
    const { exitCode, stdout, stderr } = await inSmallTmpfs(full, '64k', command);
    expect(exitCode, stderr.toString('utf8')).toBe(EXIT.harness);
    expect(stderr.toString('utf8')).toMatch(/no space left in the filesystem to which qemu-img writes/);
    // Nothing is left there, and there is no finding about the image.
    expect(stdout.toString('utf8')).toBe('');
  }
});
