import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { EXIT, errorText, exitCodeOf } from '../../../../cli/exit-codes.ts';
import { packageFile } from '../../../../harness/cache-folder.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { findTool, TOOLS } from '../../../../lib/tools.ts';
import { KERNEL, SYSTEMD_BOOT } from '../../../helpers/pe-file.ts';
import { run } from '../../../helpers/run.ts';
import { makeSmallDisk } from '../../../helpers/small-disk.ts';
import { inSmallTmpfs } from '../../../helpers/small-tmpfs.ts';
import { tempFolder } from '../../../helpers/temp-folder.ts';

// A program that is killed, as the kernel does when memory is short, or ends in a way that it does not document, says nothing of
// the image: exit status 3 with its name, and neither a finding nor a difference.

afterEach(() => {
  vi.unstubAllEnvs();
});

const FILES = {
  'EFI/BOOT/BOOTX64.EFI': SYSTEMD_BOOT,
  'loader/entries/a.conf': 'linux /k\noptions console=ttyS0\n',
  k: KERNEL,
};

/** A disk as qcow2, and one that differs from it in the ESP, in the ext4 and in a partition that has no filesystem. */
async function disks(folder: string): Promise<{ readonly a: string; readonly b: string }> {
  const { image, root } = await makeSmallDisk(folder, FILES);
  const [a, b] = [join(folder, 'a.qcow2'), join(folder, 'b.img')];
  await run(['qemu-img', 'convert', '-O', 'qcow2', image, a]);
  await run(['cp', image, b]);
  await run(['debugfs', '-w', '-R', 'sif /nix uid 5', `./b.img?offset=${root}`], { cwd: folder });
  return { a, b };
}

/** Puts programs in front of the real ones. @returns the file that each writes its name to. */
async function replace(folder: string, script: (name: string) => string, ...names: string[]): Promise<string> {
  const [bin, log] = [join(folder, 'bin'), join(folder, 'log')];
  await mkdir(bin, { recursive: true });
  await writeFile(log, '');
  for (const name of names) {
    await writeFile(join(bin, name), `#!/bin/sh\necho ${name} >> "$(dirname "$0")/../log"\n${script(name)}\n`);
    await chmod(join(bin, name), 0o755);
  }
  vi.stubEnv('PATH', `${bin}${delimiter}${process.env.PATH}`);
  return log;
}

const COMMANDS = {
  inspect: {
    programs: ['blkid', 'debugfs', 'e2fsck', 'flock', 'fsck.vfat', 'qemu-img'],
    look: ({ a }: { readonly a: string }) => inspectImage({ image: a, deep: true }),
  },
  diff: {
    programs: ['blkid', 'debugfs', 'flock', 'qemu-img'],
    look: (both: { readonly a: string; readonly b: string }) => diffImages(both),
  },
};

for (const [command, { programs, look }] of Object.entries(COMMANDS))
  test(`${command}: each program that it runs is killed, and exits with 77`, async () => {
    const both = await disks(await tempFolder());
    const good = await look(both);
    const here = new Map<string, string>();
    for (const { name } of TOOLS) here.set(name, (await findTool(name)) ?? '/nonexistent');
    const log = await replace(await tempFolder(), (name) => `exec ${here.get(name)} "$@"`, ...here.keys());
    expect(await look(both)).toEqual(good);
    vi.unstubAllEnvs();
    const run = [...new Set((await readFile(log, 'utf8')).trim().split('\n'))].sort();
    expect(run).toEqual(programs);
    for (const name of run)
      for (const end of ['kill -9 $$', 'exit 77']) {
        await replace(await tempFolder(), () => end, name);
        const error = await look(both).catch((thrown: unknown) => thrown);
        vi.unstubAllEnvs();
        expect(error, name).toBeInstanceOf(Error);
        expect(exitCodeOf(error), name).toBe(EXIT.harness);
        expect(errorText(error)).toContain(name);
        expect(errorText(error), name).not.toMatch(/\n\s+at /);
      }
  });

test('debugfs that answers nothing is a failure of the host', async () => {
  const { a } = await disks(await tempFolder());
  await replace(await tempFolder(), () => 'exit 0', 'debugfs');
  const error = await inspectImage({ image: a }).catch((thrown: unknown) => thrown);
  expect(exitCodeOf(error)).toBe(EXIT.harness);
  expect(errorText(error)).toMatch(/debugfs answered 0 of 3 questions/);
});

test('qemu-img whose words are no JSON is a failure of the host', async () => {
  const { a } = await disks(await tempFolder());
  await replace(await tempFolder(), () => 'echo "{"', 'qemu-img');
  const error = await inspectImage({ image: a }).catch((thrown: unknown) => thrown);
  expect(exitCodeOf(error)).toBe(EXIT.harness);
  expect(errorText(error)).toMatch(/qemu-img/);
});

test('a full directory for temporary files is a failure of the host', async () => {
  const { a, b } = await disks(await tempFolder());
  const full = await tempFolder();
  for (const argv of [
    ['inspect', a],
    ['inspect', '--deep', b],
    ['diff', a, b],
  ]) {
    const command = ['env', `TMPDIR=${full}`, process.execPath, packageFile('dist/cli/main.js'), ...argv];
    const { exitCode, stdout, stderr } = await inSmallTmpfs(full, '64k', command);
    expect(exitCode, stderr.toString('utf8')).toBe(EXIT.harness);
    expect(stderr.toString('utf8')).toMatch(/no space left in what qemu-img writes to/);
    // Nothing is left there, and nothing is said of the image.
    expect(stdout.toString('utf8')).toBe('');
  }
});
