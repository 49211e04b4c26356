import { EventEmitter, once } from 'node:events';
import { chmod, link, mkdir, open, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ImageTooSmallError } from '../../../../lib/run/errors.ts';
import type { Executor } from '../../../../lib/run/executor.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import type { StepEvent } from '../../../../lib/run/step.ts';
import { computeDiskSize } from '../../../../lib/steps/compute-disk-size.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { HASH } from '../../../helpers/fake-system.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const UUID = 'f222513b-ded1-49fa-b591-20ce86a2fe7f';

/** A staged root, and an optimised store, whose files have hard links outside of the closure. */
async function tree() {
  const directory = await tempDirectory();
  const [root, store] = [join(directory, 'root'), join(directory, 'store')];
  const one = `/nix/store/${HASH}-one`;
  const script = `/nix/store/${HASH}-script.sh`;
  await mkdir(join(root, 'srv/site'), { recursive: true });
  await mkdir(join(root, 'tmp'));
  await run(['chmod', '1777', join(root, 'tmp')]);
  await writeFile(join(root, 'srv/site/page'), 'page');
  await writeFile(join(root, 'tool'), 'tool', { mode: 0o755 });
  await run(['chmod', '4755', join(root, 'tool')]);
  await mkdir(join(store, one, 'bin'), { recursive: true });
  await writeFile(join(store, one, 'bin/program'), Buffer.alloc(3 * MIB, 7));
  await link(join(store, one, 'bin/program'), join(store, one, 'bin/same'));
  await symlink('program', join(store, one, 'bin/link'));
  await writeFile(join(store, script), '#!/bin/sh\n', { mode: 0o555 });
  await mkdir(join(store, 'nix/store/.links'));
  await link(join(store, one, 'bin/program'), join(store, 'nix/store/.links/x'));
  const closure = { store, storePaths: [one, script] };
  return { directory, root, closure, one };
}

/** Copies the filesystem out of the image, because its checkers accept no offset. */
async function takeOut(directory: string, image: string, partition: { offsetBytes: number; sizeBytes: number }) {
  await run(
    [
      ...['dd', `if=${image}`, 'of=filesystem', 'bs=1M', 'conv=sparse', 'status=none'],
      ...['iflag=skip_bytes,count_bytes', `skip=${partition.offsetBytes}`, `count=${partition.sizeBytes}`],
    ],
    { cwd: directory },
  );
}

const CHECKS = {
  ext4: ['e2fsck', '-fn', 'filesystem'],
  btrfs: ['btrfs', 'check', '--force', 'filesystem'],
  xfs: ['xfs_repair', '-n', 'filesystem'],
  f2fs: ['fsck.f2fs', '--dry-run', 'filesystem'],
} as const;

test.each([
  'ext4',
  'btrfs',
  'xfs',
  'f2fs',
] as const)('%s: a valid filesystem in its partition, with the tree, its owners and modes', async (fsType) => {
  const { directory, root, closure, one } = await tree();
  const image = join(directory, 'disk.img');
  const size = await computeDiskSize({
    stagedRoot: root,
    closure,
    partitionTableType: 'legacy+gpt',
    additionalSpace: '8M',
    fsType,
  });
  await createDisk({ image, sizeBytes: size.diskBytes });
  const disk = await partitionDisk({ image, partitionTableType: 'legacy+gpt' });
  const owners = [{ target: '/srv/site', uid: 1000, gid: 100 }];
  const made = await makeFilesystem({
    ...{ image, partition: disk.root, fsType, label: 'nixos', uuid: UUID, inodeCount: size.inodeCount },
    ...{ populateFrom: root, closure, owners },
  });
  expect(made).toMatchObject({ fsType, uuid: UUID, label: 'nixos' });
  expect(made.sizeBytes).toBeGreaterThan(4 * MIB);
  expect(made.sizeBytes).toBeLessThanOrEqual(disk.root.sizeBytes);
  // The rest of the disk is unchanged: the GPT, and nothing after the partition.
  await run(['sfdisk', '--verify', image]);
  await takeOut(directory, image, disk.root);
  await run(CHECKS[fsType], { cwd: directory });
  // GRUB, which has its own implementation of each filesystem, can read it.
  const inImage = (path: string) => `(loop0)${path}`;
  const fstest = await run(['sh', '-c', 'command -v grub-fstest || true']);
  if (fstest.trim() !== '') {
    const compare = [
      'grub-fstest',
      'filesystem',
      'cmp',
      inImage(`${one}/bin/program`),
      join(closure.store, one, 'bin/program'),
    ];
    expect(await run(compare, { cwd: directory })).not.toMatch(/differs|error/);
  }
  if (fsType === 'ext4') {
    const stat = (path: string) => run(['debugfs', '-R', `stat ${path}`, 'filesystem'], { cwd: directory });
    expect(await stat('/srv/site/page')).toMatch(/User: +1000 +Group: +100/);
    expect(await stat('/tool')).toMatch(/Mode: +04755/);
    expect(await stat('/tmp')).toMatch(/Mode: +01777/);
    expect(await stat(`${one}/bin/program`)).toMatch(/Links: 2/);
  }
  if (fsType === 'btrfs') {
    const dumped = await run(['btrfs', 'inspect-internal', 'dump-tree', '-t', '5', 'filesystem'], { cwd: directory });
    expect(new Set([...dumped.matchAll(/uid (\d+) gid (\d+)/g)].map(([, uid, gid]) => `${uid}:${gid}`))).toEqual(
      new Set(['0:0', '1000:100']),
    );
    expect(dumped).toMatch(/mode 104755/);
    expect(dumped).toMatch(/mode 41777/);
  }
  if (fsType === 'xfs') {
    const field = (path: string, name: string) =>
      run(['xfs_db', '-r', '-c', `path ${path}`, '-c', `print ${name}`, 'filesystem'], { cwd: directory });
    expect(await field('/srv/site/page', 'core.uid')).toMatch(/= 1000$/m);
    expect(await field('/tool', 'core.mode')).toMatch(/= 0104755$/m);
    expect(await field('/tmp', 'core.mode')).toMatch(/= 041777$/m);
  }
});

test.each([
  'btrfs',
  'xfs',
  'f2fs',
] as const)('%s: a tree that does not fit is reported with sizes, and the disk stays empty', async (fsType) => {
  const { directory, root } = await tree();
  await writeFile(join(root, 'big'), Buffer.alloc(420 * MIB, 5));
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 400 * MIB });
  const attempt = makeFilesystem({
    image,
    partition: { offsetBytes: 0, sizeBytes: 400 * MIB },
    fsType,
    populateFrom: root,
  });
  await expect(attempt).rejects.toMatchObject({ code: expect.stringMatching(/E_NO_SPACE|E_INVALID_OPTIONS/) });
  await using handle = await open(image, 'r');
  expect((await handle.stat()).blocks).toBe(0);
});

test('xfs: a file that its prototype cannot express is named', async () => {
  const { directory, root } = await tree();
  await writeFile(join(root, 'a name'), '');
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 400 * MIB });
  const partition = { offsetBytes: 0, sizeBytes: 400 * MIB };
  await expect(makeFilesystem({ image, partition, fsType: 'xfs', populateFrom: root })).rejects.toThrow(/"a name"/);
});

test('a missing tool of a filesystem is reported with its package, and nothing is created', async () => {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 400 * MIB });
  await mkdir(join(directory, 'bin'));
  for (const name of await readdir('/usr/bin'))
    if (name !== 'fakeroot') await symlink(join('/usr/bin', name), join(directory, 'bin', name));
  const path = process.env.PATH;
  process.env.PATH = join(directory, 'bin');
  try {
    const attempt = makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 400 * MIB }, fsType: 'btrfs' });
    await expect(attempt).rejects.toMatchObject({ code: 'E_TOOL_MISSING' });
    await expect(attempt).rejects.toThrow(/fakeroot[\s\S]*apt-get install fakeroot/);
    expect((await readdir(directory)).sort()).toEqual(['bin', 'disk.img']);
  } finally {
    process.env.PATH = path;
  }
});

test.each([
  'btrfs',
  'xfs',
  'f2fs',
] as const)('%s: what has been written is reported while its program runs', async (fsType) => {
  const { directory, root, closure } = await tree();
  const image = join(directory, 'disk.img');
  const size = await computeDiskSize({ stagedRoot: root, closure, fsType, partitionTableType: 'none' });
  await createDisk({ image, sizeBytes: size.diskBytes });
  const events = new EventEmitter();
  let reported = once(events, 'progress');
  // The last program ends only after a report.
  const executor: Executor = {
    ...localExecutor,
    async run(argv, options) {
      const result = await localExecutor.run(argv, options);
      if (argv.some((word) => /^(?:mkfs\.btrfs|mkfs\.xfs|sload\.f2fs)$/.test(word))) await reported;
      return result;
    },
  };
  const partition = { offsetBytes: 0, sizeBytes: size.diskBytes };
  const onEvent = (event: StepEvent): void => {
    if (event.type === 'progress') events.emit('progress', event.doneBytes / event.totalBytes);
  };
  await makeFilesystem({ image, partition, fsType, populateFrom: root, closure, size }, { executor, onEvent });
  const [share] = await reported;
  expect(share).toBeGreaterThan(0);
  reported = once(events, 'progress');
  const listener = (event: StepEvent): void => {
    onEvent(event);
    if (event.type === 'progress') throw new Error('of the listener');
  };
  const made = makeFilesystem(
    { image, partition, fsType, populateFrom: root, closure, size },
    { executor, onEvent: listener },
  );
  await expect(made).rejects.toThrow('of the listener');
});

test('an error of a listener for output is the step’s', async () => {
  const { directory, root, closure } = await tree();
  const image = join(directory, 'disk.img');
  const size = await computeDiskSize({ stagedRoot: root, closure, fsType: 'ext4', partitionTableType: 'none' });
  await createDisk({ image, sizeBytes: size.diskBytes });
  // Says something on standard error.
  const executor: Executor = {
    ...localExecutor,
    run: (argv, options) => localExecutor.run(['sh', '-c', 'echo heard >&2; exec "$@"', 'sh', ...argv], options),
  };
  const partition = { offsetBytes: 0, sizeBytes: size.diskBytes };
  const onEvent = (event: StepEvent): void => {
    if (event.type === 'output') throw new Error(event.text);
  };
  const made = makeFilesystem({ image, partition, populateFrom: root, closure, size }, { executor, onEvent });
  await expect(made).rejects.toThrow('heard');
  // A listener that fails as well does not hide why the step did.
  const small = { offsetBytes: 0, sizeBytes: 2 * MIB };
  const failing = (event: StepEvent): void => {
    if (event.type === 'fail') throw new Error('of the listener');
  };
  const failed = makeFilesystem({ image, partition: small, populateFrom: root, closure }, { onEvent: failing });
  await expect(failed).rejects.toThrow(ImageTooSmallError);
  const wrong = makeFilesystem({ image, partition }, { onEvent: 5 } as never);
  await expect(wrong).rejects.toThrow(/^makeFilesystem: onEvent: must be a function/);
});

test('btrfs: each subvolume has the files of its directory, with their owners', async () => {
  const { directory, root, closure } = await tree();
  const image = join(directory, 'disk.img');
  const partition = { offsetBytes: 0, sizeBytes: 200 * MIB };
  await createDisk({ image, sizeBytes: partition.sizeBytes });
  await mkdir(join(root, 'home/alice'), { recursive: true });
  await chmod(join(root, 'home'), 0o750);
  await writeFile(join(root, 'home/alice/file'), 'of alice');
  const made = makeFilesystem({
    ...{ image, partition, fsType: 'btrfs', populateFrom: root, closure },
    owners: [
      { target: '/home/alice', uid: 1000, gid: 100 },
      { target: '/srv', uid: 7, gid: 8 },
    ],
    subvolumes: [
      { path: '@', directory: '/' },
      { path: '/@home', directory: '/home' },
      { path: '@nix', directory: '/nix' },
      { path: 'vols/srv: all', directory: '/srv' },
      { path: '@new', directory: '/no/such' },
      { path: 'snapshots' },
    ],
  });
  // Debian 12 has 6.2, Debian 13 has 6.14.
  const [, major, minor] = /v(\d+)\.(\d+)/.exec(await run(['mkfs.btrfs', '--version'])) ?? [];
  if (Number(major) * 100 + Number(minor) < 612) {
    await expect(made).rejects.toThrow(
      /^makeFilesystem: subvolumes: mkfs\.btrfs \S+ cannot make subvolumes; btrfs-progs can since 6\.12/,
    );
    return;
  }
  await made;
  await takeOut(directory, image, partition);
  await run([...CHECKS.btrfs], { cwd: directory });
  const dump = await run(['btrfs', 'inspect-internal', 'dump-tree', 'filesystem'], { cwd: directory });
  const subvolumes = new Map(
    [...dump.matchAll(/key \(FS_TREE ROOT_REF (\d+)\) .*\n.*name (.*)/g)].map(([, id, name]) => [name, id]),
  );
  expect([...subvolumes.keys()].sort()).toEqual(['@', '@home', '@new', '@nix', 'snapshots', 'srv: all']);
  const treeOf = (name: string): string =>
    new RegExp(`\\nfile tree key \\(${subvolumes.get(name)} ROOT_ITEM 0\\)[\\s\\S]*?(?=\\n\\S* ?tree key|$)`).exec(
      dump,
    )?.[0] ?? '';
  const owners = (name: string): string[] =>
    [...treeOf(name).matchAll(/mode (\d+) links \d+ uid (\d+) gid (\d+)/g)].map(([, ...parts]) => parts.join(' '));
  const names = (name: string): string[] =>
    [...treeOf(name).matchAll(/DIR_INDEX[\s\S]*?name: (.*)/g)].map(([, entry]) => String(entry)).sort();
  expect(names('@')).toEqual(['home', 'nix', 'no', 'srv', 'such', 'tmp', 'tool']);
  expect(owners('@home').sort()).toEqual(['100644 1000 100', '40750 0 0', '40755 1000 100']);
  expect(owners('srv: all').every((one) => one.endsWith(' 7 8'))).toBe(true);
  expect(names('srv: all')).toEqual(['page', 'site']);
  expect(names('@nix')).toContain('store');
  expect([names('@new'), names('snapshots')]).toEqual([[], []]);
});

test.each([
  [{ fsType: 'ext4' as const, subvolumes: [{ path: '@' }] }, /subvolumes: "ext4" has none/],
  [
    { fsType: 'btrfs' as const, subvolumes: [{ path: '@' }, { path: '/@' }] },
    /subvolumes\[1\]\.path: is that of another/,
  ],
  [{ fsType: 'btrfs' as const, subvolumes: [{ path: 'a/../b' }] }, /subvolumes\[0\]\.path: must be a path such as/],
])('wrong subvolumes are refused: %j', async (options, message) => {
  const image = join(await tempDirectory(), 'disk.img');
  await createDisk({ image, sizeBytes: 120 * MIB });
  const attempt = makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 120 * MIB }, ...options });
  await expect(attempt).rejects.toThrow(message);
});
