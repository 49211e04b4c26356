import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { cliAs } from '../../helpers/another-user.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

/** Runs only the check of the cache directory: no machine is needed. */
const QUICK = { NIXOS_DISK_IMAGE_ACCEL: 'tcg' };
const UID = 4242;

interface Diagnosis {
  readonly good: boolean;
  readonly cache: { readonly directory?: string; readonly note?: string; readonly fault?: string };
}

async function run(
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ readonly stdout: string; readonly exitCode: number | undefined }> {
  const settings = Object.entries({ ...QUICK, ...env }).map(([name, value]) => `${name}=${value}`);
  const result = await localExecutor.run([
    ...['env', '-i', `PATH=${process.env.PATH}`, ...settings],
    ...[process.execPath, packageFile('dist/cli/main.js'), 'doctor', ...args],
  ]);
  expect(result.stderr.toString('utf8')).toBe('');
  return { stdout: result.stdout.toString('utf8'), exitCode: result.exitCode };
}

async function doctor(env: Readonly<Record<string, string>>): Promise<Diagnosis> {
  return JSON.parse((await run(env, '--json')).stdout) as Diagnosis;
}

test('the cache is in XDG_CACHE_HOME, which is created if it is missing', async () => {
  const directory = join(await tempDirectory(), 'not there yet');
  const diagnosis = await doctor({ XDG_CACHE_HOME: directory });
  expect(diagnosis).toMatchObject({ good: true, cache: { directory: join(directory, 'nixos-disk-image') } });
  expect(diagnosis.cache.note).toBeUndefined();
  expect((await run({ XDG_CACHE_HOME: directory })).stdout).toContain(
    `ok      cache directory     ${join(directory, 'nixos-disk-image')}\n`,
  );
});

test.each([
  ['', undefined],
  ['relative/path', 'XDG_CACHE_HOME is ignored: "relative/path" is not an absolute path'],
])('XDG_CACHE_HOME=%j counts as not set', async (value, note) => {
  const home = await tempDirectory();
  const diagnosis = await doctor({ HOME: home, XDG_CACHE_HOME: value });
  expect(diagnosis).toMatchObject({ good: true, cache: { directory: join(home, '.cache/nixos-disk-image') } });
  expect(diagnosis.cache.note).toBe(note);
});

describe('if the usual directory cannot be used, the cache is in a private one, and doctor says why', () => {
  test.each([
    ['HOME is a file', 'HOME', '/dev/null', 'ENOTDIR'],
    ['HOME is a directory that cannot be created', 'HOME', '/proc/nowhere', 'ENOENT'],
    ['XDG_CACHE_HOME is a directory that cannot be created', 'XDG_CACHE_HOME', '/proc/nowhere', 'ENOENT'],
    ['HOME is empty', 'HOME', '', 'HOME is not an absolute path: ""'],
    ['HOME is relative', 'HOME', 'here', 'HOME is not an absolute path: "here"'],
  ])('%s', async (_, name, value, why) => {
    const temporary = await tempDirectory();
    const diagnosis = await doctor({ TMPDIR: temporary, HOME: '/dev/null', [name]: value });
    const directory = join(temporary, `nixos-disk-image-${process.getuid?.()}`);
    expect(diagnosis).toMatchObject({ good: true, cache: { directory } });
    expect(diagnosis.cache.note).toContain(why);
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  test('the text output says why, too', async () => {
    const temporary = await tempDirectory();
    const directory = join(temporary, `nixos-disk-image-${process.getuid?.()}`);
    expect((await run({ TMPDIR: temporary, HOME: '/dev/null' })).stdout).toContain(
      `note    cache directory     ${directory}: /dev/null/.cache/nixos-disk-image (HOME) cannot be used: ENOTDIR`,
    );
  });

  test('a private directory that others could read is made inaccessible to them', async () => {
    const temporary = await tempDirectory();
    const directory = join(temporary, `nixos-disk-image-${process.getuid?.()}`);
    await mkdir(directory);
    await chmod(directory, 0o777);
    await doctor({ TMPDIR: temporary, HOME: '/dev/null' });
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  test('if no directory can be used, the error says what to do', async () => {
    const file = join(await tempDirectory(), 'file');
    await writeFile(file, '');
    const { stdout, exitCode } = await run({ TMPDIR: file, HOME: '/dev/null' });
    expect(exitCode).toBe(3);
    expect(stdout).toMatch(
      /^MISSING cache directory {5}the cache directory cannot be created: .*\n +set XDG_CACHE_HOME to/m,
    );
  });
});

describe('a user without an entry in passwd', () => {
  const asUser = async (env: Record<string, string>, prepare?: string) => {
    const result = await cliAs(UID, ['doctor', '--json'], {
      env: { ...QUICK, ...env },
      ...(prepare === undefined ? {} : { prepare }),
    });
    expect(result.stderr.toString('utf8')).toBe('');
    return { ...result, diagnosis: JSON.parse(result.stdout.toString('utf8')) as Diagnosis };
  };

  test('has a private directory', async () => {
    const { diagnosis, exitCode, temporary } = await asUser({});
    expect(exitCode).toBe(0);
    expect(diagnosis.cache).toEqual({
      directory: join(temporary, `nixos-disk-image-${UID}`),
      note: `HOME is not set, and user ${UID} has no entry in passwd`,
    });
  });

  test('has one too if HOME is not writable', async () => {
    const { diagnosis, temporary } = await asUser({ HOME: '/usr' });
    expect(diagnosis.cache.directory).toBe(join(temporary, `nixos-disk-image-${UID}`));
    expect(diagnosis.cache.note).toMatch(/^\/usr\/\.cache\/nixos-disk-image \(HOME\) cannot be used: EACCES/);
  });

  test.each([
    [
      'another user’s directory',
      `mkdir nixos-disk-image-${UID}; mount --bind /usr nixos-disk-image-${UID}`,
      /belongs to another user/,
    ],
    ['a link', `ln -s /var/tmp nixos-disk-image-${UID}`, /is not a directory/],
  ])('is refused %s under that name', async (_, prepare, message) => {
    const { diagnosis, exitCode } = await asUser({}, prepare);
    expect(exitCode).toBe(3);
    expect(diagnosis.cache.fault).toMatch(message);
  });
});
