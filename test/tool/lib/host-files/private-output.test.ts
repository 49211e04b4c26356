import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makePrivateDirectory, replaceFile } from '../../../../lib/host-files/private-output.ts';
import { startChild } from '../../../helpers/child.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const hold = (parent: string): string => `
  const { makePrivateDirectory } = await import(DIST + 'lib/host-files/private-output.js');
  console.log((await makePrivateDirectory(${JSON.stringify(parent)})).path);
`;

describe.each([
  ['here', false],
  ['in another container', true],
])('the private directory of a process %s', (_, elsewhere) => {
  test('remains while the process runs, and is removed by the next one after it was killed', async () => {
    const parent = await tempDirectory();
    const other = await startChild(hold(parent), { elsewhere });
    expect(existsSync(join(other.line, 'lock'))).toBe(true);
    await mkdir(join(other.line, 'work/more'), { recursive: true });
    await (await makePrivateDirectory(parent))[Symbol.asyncDispose]();
    expect(existsSync(join(other.line, 'work/more'))).toBe(true);
    await other.kill();
    await (await makePrivateDirectory(parent))[Symbol.asyncDispose]();
    expect(await readdir(parent)).toEqual([]);
  });
});

test('a child process does not inherit the lock', async () => {
  const parent = await tempDirectory();
  const other = await startChild(`
    const { spawn } = await import('node:child_process');
    const { makePrivateDirectory } = await import(DIST + 'lib/host-files/private-output.js');
    const { path } = await makePrivateDirectory(${JSON.stringify(parent)});
    const left = spawn('sleep', ['600'], { stdio: 'ignore', detached: true });
    console.log(left.pid + ' ' + path);
  `);
  const [left = '', path = ''] = other.line.split(/ (.*)/);
  try {
    await other.kill();
    await (await makePrivateDirectory(parent))[Symbol.asyncDispose]();
    expect(existsSync(path)).toBe(false);
  } finally {
    process.kill(Number(left));
  }
});

test('a directory without a lock is being created, unless it is old', async () => {
  const parent = await tempDirectory();
  const [young, old] = [join(parent, '.nixos-disk-image-young0'), join(parent, '.nixos-disk-image-old000')];
  await mkdir(young);
  await mkdir(old);
  await writeFile(join(old, 'file'), '');
  await utimes(old, 1, 1);
  await (await makePrivateDirectory(parent))[Symbol.asyncDispose]();
  expect(await readdir(parent)).toEqual(['.nixos-disk-image-young0']);
});

test('a file is replaced in a directory that exists, and none is made for it', async () => {
  const parent = await tempDirectory();
  await replaceFile(join(parent, 'file'), (partial) => writeFile(partial, 'new'));
  expect(await readFile(join(parent, 'file'), 'utf8')).toBe('new');
  await expect(replaceFile(join(parent, 'none/file'), (partial) => writeFile(partial, 'new'))).rejects.toThrow(
    /ENOENT/,
  );
  expect(await readdir(parent)).toEqual(['file']);
});

test('a directory that its user may write to, but not list, is enough', async () => {
  const parent = await tempDirectory();
  const asRoot = process.getuid?.() === 0;
  if (asRoot) await chown(parent, 65534, 65534);
  await chmod(parent, 0o333);
  const other = await startChild(`
    const { replaceFile } = await import(DIST + 'lib/host-files/private-output.js');
    const { writeFile } = await import('node:fs/promises');
    ${asRoot ? 'process.setgid(65534); process.setuid(65534);' : ''}
    await replaceFile(${JSON.stringify(join(parent, 'file'))}, (partial) => writeFile(partial, 'new'));
    console.log('replaced');
  `);
  expect(other.line).toBe('replaced');
  await chmod(parent, 0o700);
  expect(await readdir(parent)).toEqual(['file']);
});
