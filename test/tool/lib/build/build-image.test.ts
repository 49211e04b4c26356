import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../../../../lib/build/build-image.ts';
import type { StepEvent } from '../../../../lib/run/step.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { buildAsNobody } from '../../../helpers/nobody.ts';
import { run } from '../../../helpers/run.ts';
import { inSmallTmpfs } from '../../../helpers/small-tmpfs.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// Complete images without a VM.

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

const options = (outDir: string, system: string, more: Partial<BuildImageOptions> = {}): BuildImageOptions => ({
  ...{ outDir, toplevel: demo.systems[system] ?? '', store: demo.store, additionalSpace: '32M', bootSize: '140M' },
  bootLoaderFrom: 'bootspec',
  ...more,
});

/** Returns the bytes that a directory occupies, without the image. */
async function allocated(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []))
    if (!entry.name.endsWith('.img'))
      bytes += ((await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.blocks ?? 0) * 512;
  return bytes;
}

test('the closure is not copied: other files are less than a twentieth of its size', async () => {
  const outDir = await tempDirectory();
  let most = 0;
  const pending: Promise<void>[] = [];
  const built = await buildImage(options(outDir, 'demo-grub-hybrid', { partitionTableType: 'hybrid' }), {
    onEvent: (event) => {
      if (event.type !== 'command' && event.type !== 'finish') return;
      pending.push(
        (async () => {
          const [work] = (await readdir(outDir)).filter((name) => name.startsWith('.nixos-disk-image-'));
          if (work === undefined) return;
          most = Math.max(most, await allocated(join(outDir, work)));
        })(),
      );
    },
  });
  await Promise.all(pending);
  const closure = await run([
    'du',
    '--summarize',
    '--block-size=1',
    '--total',
    ...built.system.storePaths.map((path) => join(demo.store, path)),
  ]);
  const closureBytes = Number(/(\d+)\s+total/.exec(closure)?.[1]);
  expect(closureBytes).toBeGreaterThan(50 * 1024 ** 2);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(closureBytes / 20);
});

test.each([
  'installSystem',
  'installSystemdBoot',
  'makeFilesystem',
  'convertImage',
])('an abort in %s leaves nothing behind', async (phase) => {
  const outDir = await tempDirectory();
  const abort = new AbortController();
  const attempt = buildImage(options(outDir, 'tiny-systemd-boot', { partitionTableType: 'efi', format: 'qcow2' }), {
    signal: abort.signal,
    onEvent: (event) => {
      if (event.type === 'command' && event.step === phase) setTimeout(() => abort.abort(), 1);
    },
  });
  await expect(attempt).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(await readdir(outDir)).toEqual([]);
});

test('two builds at once into one directory both succeed', async () => {
  const outDir = await tempDirectory();
  const details: string[] = [];
  const onEvent = (event: StepEvent): void => {
    if (event.type === 'start') details.push(event.detail ?? '');
  };
  const efi = options(outDir, 'tiny-systemd-boot', { partitionTableType: 'efi' });
  await Promise.all([1, 2].map(() => buildImage(efi, { onEvent })));
  expect(await readdir(outDir)).toEqual(['nixos.img']);
  // The private directory is gone after the build.
  expect(details).toContain('disk.img');
  expect(details.filter((detail) => detail.includes('.nixos-disk-image-'))).toEqual([]);
});

test.each([
  [
    'an ESP too small for the kernel',
    { partitionTableType: 'efi', bootSize: '16M' },
    /boot partition "ESP"; needed \d+ bytes.*available \d+ bytes/,
  ],
  [
    'a disk too small for the closure',
    { partitionTableType: 'efi', diskSize: 150 },
    /needed \d+ bytes.*available \d+ bytes/,
  ],
] as const)('%s is reported with sizes and leaves nothing behind', async (_, more, message) => {
  const outDir = await tempDirectory();
  const attempt = buildImage(options(outDir, 'tiny-systemd-boot', more));
  await expect(attempt).rejects.toMatchObject({ code: 'E_NO_SPACE' });
  await expect(attempt).rejects.toThrow(message);
  expect(await readdir(outDir)).toEqual([]);
});

test('a user that the system does not declare is reported before anything is created', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'file'), 'x');
  const contents = [{ source: join(directory, 'file'), target: '/srv/file', user: 'bob', group: 'users' }];
  const attempt = buildImage(options(join(directory, 'out'), 'tiny-grub-bios', { contents }));
  await expect(attempt).rejects.toThrow(/the system does not declare the user bob/);
  expect(await readdir(directory)).toEqual(['file']);
});

test.each(['yesterday', '-1', '99999999999'])('SOURCE_DATE_EPOCH=%s is refused, not ignored', async (value) => {
  vi.stubEnv('SOURCE_DATE_EPOCH', value);
  onTestFinished(() => void vi.unstubAllEnvs());
  const directory = await tempDirectory();
  const attempt = buildImage(options(join(directory, 'out'), 'tiny-grub-bios', { reproducible: true }));
  await expect(attempt).rejects.toThrow(/SOURCE_DATE_EPOCH: must be seconds since 1970/);
  expect(await readdir(directory)).toEqual([]);
});

test.each([
  ['that fills', '20M', /no space left/],
  [
    'that is too small from the start',
    '8M',
    /buildImage: no space left in the filesystem of .*; needed \d+ bytes .*, available \d+ bytes/,
  ],
])('a host disk %s is reported with status 3 and is empty afterwards', async (_, size, message) => {
  const directory = await tempDirectory();
  const out = join(directory, 'out');
  await mkdir(out);
  await writeFile(
    join(directory, 'image.json'),
    JSON.stringify({ ...options(out, 'tiny-systemd-boot', { partitionTableType: 'efi' }), outDir: undefined }),
  );
  const argv = [packageFile('dist/cli/main.js'), 'build', join(directory, 'image.json'), '--out', out];
  const result = await inSmallTmpfs(out, size, [process.execPath, ...argv]);
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(3);
  expect(result.stderr.toString('utf8')).toMatch(message);
  expect(result.stdout.toString('utf8')).toBe('');
});

// An ordinary user has only root's ID in a user namespace, so owners cannot be set there, only faked.
test.each(['btrfs', 'f2fs'] as const)('an ordinary user can set the owners of files in a %s', async (fsType) => {
  const directory = await tempDirectory();
  await chmod(directory, 0o755);
  await writeFile(join(directory, 'page'), 'page');
  const built = await buildAsNobody({
    ...{ toplevel: demo.systems['tiny-none'] ?? '', store: demo.store, partitionTableType: 'none', fsType },
    ...{ installBootLoader: false, additionalSpace: '64M' },
    contents: [{ source: join(directory, 'page'), target: '/srv/page', user: 'alice', group: 'users' }],
  });
  expect(built.filesystem.fsType).toBe(fsType);
});

test('an ext4 keeps extended attributes of contents, and a filesystem that would lose them is refused', async () => {
  const directory = await tempDirectory();
  await writeFile(join(directory, 'tool'), 'x');
  await run(['setfattr', '-n', 'user.origin', '-v', 'here', join(directory, 'tool')]);
  const outDir = join(directory, 'out');
  const contents = [{ source: join(directory, 'tool'), target: '/bin/tool' }];
  const { image } = await buildImage(options(outDir, 'tiny-none', { partitionTableType: 'none', contents }));
  expect(await run(['debugfs', '-R', 'ea_get /bin/tool user.origin', image])).toContain('here');
  const btrfs = options(outDir, 'tiny-none', { partitionTableType: 'none', contents, fsType: 'btrfs' });
  await expect(buildImage(btrfs)).rejects.toThrow(
    /fsType: \/bin\/tool has the extended attribute user\.origin, but a root of type btrfs is filled without extended attributes/,
  );
  expect(await readdir(outDir)).toEqual(['nixos.img']);
});

test('contents below the mount point of a boot partition are on it, and files that it cannot hold are refused', async () => {
  const directory = await tempDirectory();
  await mkdir(join(directory, 'tree/boot/EFI/ünï'), { recursive: true });
  await writeFile(join(directory, 'tree/boot/EFI/ünï/two'), '2');
  await writeFile(join(directory, 'one'), '1');
  const outDir = join(directory, 'out');
  const build = (more: object): Promise<BuiltImage> =>
    buildImage(options(outDir, 'tiny-systemd-boot', { partitionTableType: 'efi', ...more }));
  const one = { source: join(directory, 'one'), target: '/boot/extra/one' };
  const { image, disk } = await build({
    contents: [one, { source: join(directory, 'tree/boot/EFI'), target: '/boot/EFI' }],
  });
  const at = `${image}@@${disk.esp?.offsetBytes}`;
  expect(await run(['mtype', '-i', at, '::/extra/one'])).toBe('1');
  expect(await run(['mtype', '-i', at, '::/EFI/ünï/two'])).toBe('2');
  const root = `${image}?offset=${disk.root.offsetBytes}`;
  expect(await run(['debugfs', '-R', 'ls -p /boot', root])).not.toMatch(/extra|ünï/);

  const owned = { ...one, user: 'root', group: 'root', mode: '600' };
  await expect(build({ contents: [owned] })).rejects.toThrow(
    /contents\[0\]\.user: .*a FAT, which does not store owners[\s\S]*\.mode/,
  );
  const loader = { source: join(directory, 'one'), target: '/boot/EFI/BOOT/BOOTX64.EFI' };
  await expect(build({ contents: [loader] })).rejects.toThrow(/duplicate entry \/EFI\/BOOT\/BOOTX64\.EFI/);
  await symlink('x', join(directory, 'tree/boot/link'));
  const link = { source: join(directory, 'tree/boot'), target: '/boot' };
  await expect(build({ contents: [link] })).rejects.toThrow(
    /contents: \/boot\/link is a symbolic link, which a FAT cannot store/,
  );
});

test('a link in contents does not copy this host’s machine ID into an image', async () => {
  const directory = await tempDirectory();
  const [outDir, etc] = [join(directory, 'out'), join(directory, 'etc')];
  await mkdir(etc);
  await writeFile(join(directory, 'host-id'), '0123456789abcdef0123456789abcdef\n');
  await symlink(join(directory, 'host-id'), join(etc, 'machine-id'));
  const { image, disk } = await buildImage(
    options(outDir, 'tiny-systemd-boot', { partitionTableType: 'efi', contents: [{ source: etc, target: '/etc' }] }),
  );
  const entry = '::/loader/entries/nixos-generation-1.conf';
  const at = `${image}@@${disk.esp?.offsetBytes}`;
  const text = await run(['mtype', '-i', at, entry], { env: { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1' } });
  expect(text).toMatch(/^title NixOS$/m);
  expect(text).not.toContain('machine-id');
});
