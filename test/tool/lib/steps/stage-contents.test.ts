import { lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { InvalidOptionsError, UnexpectedStateError } from '../../../../lib/run/errors.ts';
import type { Executor } from '../../../../lib/run/executor.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { stageContents } from '../../../../lib/steps/stage-contents.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function fixture(): Promise<{ root: string; source: string }> {
  const directory = await tempDirectory();
  const source = join(directory, 'source');
  await mkdir(join(source, 'tree/deep'), { recursive: true });
  await writeFile(join(source, 'file'), 'content', { mode: 0o600 });
  await writeFile(join(source, 'tree/deep/leaf'), 'leaf');
  for (const name of ['a.conf', 'b.conf', '.hidden.conf', 'c.txt']) await writeFile(join(source, name), name);
  return { root: join(directory, 'root'), source };
}

test('copies a file with a mode, and merges a directory into its target', async () => {
  const { root, source } = await fixture();
  const staged = await stageContents({
    stagedRoot: root,
    contents: [
      { source: join(source, 'file'), target: '/etc/secret', mode: '640' },
      { source: join(source, 'tree'), target: 'srv/data' },
      { source: join(source, 'file'), target: '/opt/' },
    ],
  });
  expect((await stat(join(root, 'etc/secret'))).mode & 0o7777).toBe(0o640);
  expect(await readFile(join(root, 'srv/data/deep/leaf'), 'utf8')).toBe('leaf');
  expect(await readFile(join(root, 'opt/file'), 'utf8')).toBe('content');
  expect(staged.entries.map((entry) => entry.staged)).toEqual([['/etc/secret'], ['/srv/data'], ['/opt/file']]);
});

test('a star copies every match into the target directory, but no hidden files', async () => {
  const { root, source } = await fixture();
  await stageContents({
    stagedRoot: root,
    contents: [{ source: join(source, '*.conf'), target: '/etc/conf.d', mode: 'u=rw,go=r' }],
  });
  expect((await readdir(join(root, 'etc/conf.d'))).sort()).toEqual(['a.conf', 'b.conf']);
});

test('unusual file names are copied', async () => {
  const { root, source } = await fixture();
  const names = ['-rf', 'a b', "it's", 'q"q', 'new\nline', 'host:path', 'ünïcode', 'q?[x]', 'com,ma', '$(id)'];
  for (const name of names) await writeFile(join(source, name), name);
  await stageContents({
    stagedRoot: root,
    contents: names.map((name) => ({ source: join(source, name), target: `/x/${name}` })),
  });
  expect((await readdir(join(root, 'x'))).sort()).toEqual([...names].sort());
});

test('an existing target is a duplicate entry', async () => {
  const { root, source } = await fixture();
  const twice = [
    { source: join(source, 'file'), target: '/x' },
    { source: join(source, 'c.txt'), target: '/x' },
  ];
  await expect(stageContents({ stagedRoot: root, contents: twice })).rejects.toThrow(UnexpectedStateError);
  await expect(stageContents({ stagedRoot: `${root}2`, contents: twice })).rejects.toThrow(/duplicate entry \/x -> /);
});

test.each(['../x', '/a/../../x'])('the target %s is refused because it leaves the root', async (target) => {
  const { root, source } = await fixture();
  await expect(
    stageContents({ stagedRoot: root, contents: [{ source: join(source, 'file'), target }] }),
  ).rejects.toThrow(/leaves the root/);
});

test('a target that leaves the root through a symbolic link is refused', async () => {
  const { root, source } = await fixture();
  await mkdir(root);
  await symlink('/tmp', join(root, 'out'));
  await symlink('inside', join(root, 'link'));
  await mkdir(join(root, 'inside'));
  await expect(
    stageContents({ stagedRoot: root, contents: [{ source: join(source, 'file'), target: '/out/x' }] }),
  ).rejects.toThrow(/through the symbolic link \/out/);
  await stageContents({ stagedRoot: root, contents: [{ source: join(source, 'file'), target: '/link/x' }] });
  expect(await readdir(join(root, 'inside'))).toEqual(['x']);
});

test('a missing source and a glob without matches are refused before anything is copied', async () => {
  const { root, source } = await fixture();
  const good = { source: join(source, 'file'), target: '/good' };
  for (const missing of ['nothing', '*.nothing']) {
    const attempt = stageContents({
      stagedRoot: root,
      contents: [good, { source: join(source, missing), target: '/x' }],
    });
    await expect(attempt).rejects.toThrow(InvalidOptionsError);
    await expect(readdir(root)).rejects.toThrow(/ENOENT/);
  }
});

test('a star that matches a name which is not UTF-8 reports it instead of skipping it', async () => {
  const { root, source } = await fixture();
  await writeFile(Buffer.concat([Buffer.from(`${source}/bad`), Buffer.from([0xff]), Buffer.from('.conf')]), 'x');
  await expect(
    stageContents({ stagedRoot: root, contents: [{ source: join(source, '*.conf'), target: '/x' }] }),
  ).rejects.toThrow(/is not UTF-8/);
});

test('an abort stops it', async () => {
  const { root, source } = await fixture();
  await expect(
    stageContents(
      { stagedRoot: root, contents: [{ source: join(source, 'file'), target: '/x' }] },
      { signal: AbortSignal.abort() },
    ),
  ).rejects.toMatchObject({ code: 'E_ABORTED' });
});

test('a link to a file copies the file, a link to a directory its contents, and a dangling link is refused', async () => {
  const { root, source } = await fixture();
  await symlink('file', join(source, 'to-file'));
  await symlink('tree', join(source, 'to-tree'));
  await symlink('nothing', join(source, 'to-nothing'));
  const contents = ['to-file', 'to-tree'].map((name) => ({ source: join(source, name), target: `/srv/${name}` }));
  await stageContents({ stagedRoot: root, contents: [...contents, { source: join(source, 'to-f*'), target: '/opt' }] });
  for (const path of ['srv/to-file', 'opt/to-file']) {
    expect((await lstat(join(root, path))).isFile()).toBe(true);
    expect(await readFile(join(root, path), 'utf8')).toBe('content');
  }
  expect(await readFile(join(root, 'srv/to-tree/deep/leaf'), 'utf8')).toBe('leaf');
  await expect(
    stageContents({ stagedRoot: `${root}2`, contents: [{ source: join(source, 'to-nothing'), target: '/x' }] }),
  ).rejects.toThrow(/contents\[0\]\.source: .*to-nothing is a dangling link/);
});

test.each([
  ['644', 0o755, 0o644],
  ['600', 0o700, 0o600],
  ['2750', 0o2750, 0o2750],
  ['u=rw,go=r', 0o755, 0o644],
  ['u=rwX,go=', 0o700, 0o600],
])('users who may read a directory with mode %s may also enter it', async (mode, directoryMode, fileMode) => {
  const { root, source } = await fixture();
  await stageContents({ stagedRoot: root, contents: [{ source: join(source, 'tree'), target: '/srv/tree', mode }] });
  for (const [path, expected] of [
    ['srv/tree', directoryMode],
    ['srv/tree/deep', directoryMode],
    ['srv/tree/deep/leaf', fileMode],
  ] as const)
    expect([path, (await stat(join(root, path))).mode & 0o7777]).toEqual([path, expected]);
});

test('a directory is not copied into itself', async () => {
  const { source } = await fixture();
  const root = join(source, 'out/root');
  for (const from of [source, join(source, '../sour*')])
    await expect(stageContents({ stagedRoot: root, contents: [{ source: from, target: '/x' }] })).rejects.toThrow(
      /contents\[0\]\.source: .* would be copied into itself/,
    );
});

test('the extended attributes of sources are returned by their staged path', async () => {
  const { root, source } = await fixture();
  const odd = join(source, 'tree', 'new\nline \\ ünï');
  await writeFile(odd, 'x');
  await run(['setfattr', '-n', 'user.origin', '-v', 'here=there', join(source, 'tree/deep/leaf')]);
  await run(['setfattr', '-n', 'user.odd', '-v', '', odd]);
  await run(['setfattr', '-n', 'user.of-a-directory', '-v', 'd', join(source, 'tree')]);
  await run(['setfattr', '-n', 'user.origin', '-v', 'f', join(source, 'file')]);
  const { attributes } = await stageContents({
    stagedRoot: root,
    contents: [
      { source: join(source, 'tree'), target: '/srv' },
      { source: join(source, 'file'), target: '/etc/secret' },
    ],
  });
  const latin1 = (text: string): string => Buffer.from(text).toString('latin1');
  expect([...attributes].sort((a, b) => (a.target < b.target ? -1 : 1))).toEqual([
    { target: '/etc/secret', name: 'user.origin', value: Buffer.from('f').toString('hex') },
    { target: '/srv', name: 'user.of-a-directory', value: Buffer.from('d').toString('hex') },
    { target: '/srv/deep/leaf', name: 'user.origin', value: Buffer.from('here=there').toString('hex') },
    { target: latin1('/srv/new\nline \\ ünï'), name: 'user.odd', value: '' },
  ]);
});

// No filesystem here has these attributes: this is the output of getfattr for NFS, btrfs and an unknown filesystem.
test.each([
  ['system.nfs4_acl', 'noted'],
  ['btrfs.compression', 'noted'],
  ['com.apple.quarantine', 'refused'],
])('the attribute %s, which ext4 cannot have, is %s', async (name, outcome) => {
  const { root, source } = await fixture();
  const notes: string[] = [];
  const executor: Executor = {
    ...localExecutor,
    run: (argv, options) =>
      argv[0] === 'getfattr'
        ? localExecutor.run(['printf', '# file: %s\n%s=0x00\n', argv.at(-1) ?? '', name], options)
        : localExecutor.run(argv, options),
  };
  const contents = [{ source: join(source, 'file'), target: '/file' }];
  const staging = stageContents(
    { stagedRoot: root, contents },
    { executor, onEvent: (event) => void (event.type === 'note' && notes.push(event.text)) },
  );
  if (outcome === 'refused')
    return expect(staging).rejects.toThrow(
      /contents\[0\]\.source: .*file has the extended attribute com\.apple\.quarantine/,
    );
  expect((await staging).attributes).toEqual([]);
  expect(notes).toEqual([
    expect.stringContaining(`${join(source, 'file')}: attributes of its filesystem are not copied: ${name}`),
  ]);
});
