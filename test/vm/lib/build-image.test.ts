import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import { packageFile } from '../../../harness/cache-directory.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import type { BuildContext } from '../../../lib/build/context.ts';
import { InvalidOptionsError, NoSpaceError } from '../../../lib/run/errors.ts';
import { type DemoSystems, prepareDemo } from '../../../vm-images/demo.ts';
import { run } from '../../helpers/run.ts';
import { inSmallTmpfs } from '../../helpers/small-tmpfs.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const options = (outDir: string, more: object = {}) => ({
  outDir,
  toplevel: demo.systems['tiny-grub-bios'] ?? '',
  store: demo.store,
  additionalSpace: '32M',
  ...more,
});
const context: BuildContext = { startBuilder: startBuilderVm };

async function listed(directory: string): Promise<string[]> {
  return (await readdir(directory)).sort();
}

test('postVM sees the finished image before it gets its name', async () => {
  const outDir = await tempDirectory();
  let seen = '';
  const built = await buildImage(
    options(outDir, {
      format: 'qcow2',
      postVM: ['sh', '-c', 'qemu-img info "$diskImage" > "$0"', join(outDir, 'info')],
    }),
    {
      ...context,
      postVM: async ({ path, format }) => {
        seen = `${format} ${(await readFile(path)).subarray(0, 3).toString('latin1')}`;
      },
    },
  );
  expect(seen).toBe('qcow2 QFI');
  expect(await readFile(join(outDir, 'info'), 'utf8')).toMatch(/file format: qcow2/);
  expect(built.image).toBe(join(outDir, 'nixos.qcow2'));
  expect(await listed(outDir)).toEqual(['info', 'nixos.qcow2']);
});

test('a failed postVM publishes nothing, and existing files stay', async () => {
  const outDir = await tempDirectory();
  await writeFile(join(outDir, 'nixos.img'), 'precious');
  await expect(buildImage(options(outDir, { postVM: ['false'] }), context)).rejects.toThrow(/postVM/);
  expect(await listed(outDir)).toEqual(['nixos.img']);
  expect(await readFile(join(outDir, 'nixos.img'), 'utf8')).toBe('precious');
});

test('without a builder, options that need one are reported before anything is changed', async () => {
  const outDir = join(await tempDirectory(), 'out');
  const attempt = buildImage(options(outDir, { partitionTableType: 'efi' }));
  await expect(attempt).rejects.toThrow(InvalidOptionsError);
  await expect(attempt).rejects.toThrow(
    /needs a builder VM to run the system's switch-to-configuration[\s\S]*bootLoaderFrom "bootspec"/,
  );
  await expect(readdir(outDir)).rejects.toThrow(/ENOENT/);
});

test('an outDir that cannot be a directory is an option error', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'file'), 'x');
  await expect(buildImage(options(join(directory, 'file', 'out')), context)).rejects.toMatchObject({
    code: 'E_INVALID_OPTIONS',
    issues: [{ path: 'outDir' }],
  });
});

test('without a boot loader no builder is needed, and the image has the tree', async () => {
  const outDir = await tempDirectory();
  const built = await buildImage(options(outDir, { installBootLoader: false }));
  const at = `nixos.img?offset=${built.disk.root.offsetBytes}`;
  expect(await run(['debugfs', '-R', 'stat /etc/NIXOS', at], { cwd: outDir })).toMatch(/User: +0 +Group: +0/);
  await run(['e2fsck', '-fn', at], { cwd: outDir });
});

test.each([
  'installSystem',
  'makeFilesystem',
  'startBuilder',
  'switchToConfiguration',
  'convertImage',
])('an abort in %s leaves nothing behind', async (phase) => {
  const outDir = await tempDirectory();
  const abort = new AbortController();
  const attempt = buildImage(options(outDir, { format: 'qcow2' }), {
    ...context,
    signal: abort.signal,
    onEvent: (event) => {
      if (event.type === 'start' && event.step === phase) setTimeout(() => abort.abort(), 20);
    },
  });
  await expect(attempt).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(await listed(outDir)).toEqual([]);
});

test('two builds at once into one directory both succeed', async () => {
  const outDir = await tempDirectory();
  const built = await Promise.all([1, 2].map(() => buildImage(options(outDir), context)));
  expect(built.map(({ image }) => image)).toEqual([join(outDir, 'nixos.img'), join(outDir, 'nixos.img')]);
  expect(await listed(outDir)).toEqual(['nixos.img']);
});

test('files of a killed build are removed by the next one', async () => {
  const outDir = await tempDirectory();
  const left = join(outDir, '.nixos-disk-image-dead00');
  await mkdir(join(left, 'root'), { recursive: true });
  // No process holds its lock.
  await writeFile(join(left, 'lock'), '');
  await buildImage(options(outDir, { installBootLoader: false }));
  expect(await listed(outDir)).toEqual(['nixos.img']);
});

test('a user that the system does not have is named', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'file'), 'x');
  const contents = [{ source: join(directory, 'file'), target: '/srv/file', user: 'bob', group: 'users' }];
  await expect(buildImage(options(join(directory, 'out'), { contents }), context)).rejects.toThrow(
    /cannot change the owner of \/srv\/file to bob:users in the installed system/,
  );
  expect(await listed(join(directory, 'out'))).toEqual([]);
});

test('the error of a failed switch-to-configuration contains its output', async () => {
  const directory = await tempDirectory();
  // GRUB for BIOS cannot be installed on a GPT without a BIOS boot partition.
  const attempt = buildImage(
    options(directory, { toplevel: demo.systems['demo-grub-bios'], partitionTableType: 'efi' }),
    context,
  );
  await expect(attempt).rejects.toMatchObject({ code: 'E_TOOL_FAILED' });
  await expect(attempt).rejects.toThrow(
    /switch-to-configuration boot failed in the installed system[\s\S]*no BIOS Boot Partition/,
  );
  expect(await listed(directory)).toEqual([]);
});

test('a disk that is too small for the system is reported with sizes', async () => {
  const outDir = await tempDirectory();
  await expect(buildImage(options(outDir, { diskSize: 24 }), context)).rejects.toThrow(NoSpaceError);
  expect(await listed(outDir)).toEqual([]);
});

test('a host disk that fills up while the builder works is reported immediately', async () => {
  const directory = await tempDirectory();
  const outDir = join(directory, 'small');
  await mkdir(outDir);
  const specification = options(outDir, { toplevel: demo.systems['tiny-grub-hybrid'], partitionTableType: 'hybrid' });
  await writeFile(join(directory, 'image.json'), JSON.stringify({ ...specification, outDir: undefined }));
  const argv = [packageFile('dist/cli/main.js'), 'build', join(directory, 'image.json'), '--out', outDir];
  const result = await inSmallTmpfs(outDir, '40M', [process.execPath, ...argv]);
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(3);
  expect(result.stderr.toString('utf8')).toMatch(/no space left in/);
  expect(result.stdout.toString('utf8')).toBe('');
});
