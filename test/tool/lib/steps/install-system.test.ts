import { lstat, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { InvalidOptionsError } from '../../../../lib/run/errors.ts';
import { installSystem } from '../../../../lib/steps/install-system.ts';
import { writeConfigFile } from '../../../../lib/steps/write-config-file.ts';
import { type DemoSystems, prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

let demo: DemoSystems;
let toplevel: string;
beforeAll(async () => {
  demo = await prepareDemo();
  toplevel = demo.systems['tiny-none'] ?? '';
});

const NIX_ENV = { NIX_CONFIG: 'experimental-features = nix-command\nsubstituters =\nbuild-users-group =\n' };

test('does what nixos-install does: closure, database, profile, directories, marker', async () => {
  const root = join(await tempDirectory(), 'root');
  const installed = await installSystem({ stagedRoot: root, toplevel, store: demo.store });
  expect(installed.version).toBe('25.11-tiny');
  expect(installed.storePaths).toContain(toplevel);
  expect(await readlink(join(root, 'nix/var/nix/profiles/system'))).toBe('system-1-link');
  expect(await readlink(join(root, 'nix/var/nix/profiles/system-1-link'))).toBe(toplevel);
  expect(await readFile(join(root, 'etc/NIXOS'), 'utf8')).toBe('');
  const mode = async (file: string): Promise<number> => (await stat(join(root, file))).mode & 0o7777;
  expect([await mode('tmp'), await mode('root'), await mode('nix/store'), await mode('etc')]).toEqual([
    0o1777, 0o700, 0o1775, 0o755,
  ]);
  await run(['nix-store', '--store', `local?root=${encodeURIComponent(root)}`, '--verify', '--check-contents'], {
    env: NIX_ENV,
  });
  for (const path of installed.storePaths) await lstat(join(root, path));
});

test('accepts a link to the system, such as nix-build creates', async () => {
  const directory = await tempDirectory();
  await symlink(join(demo.store, toplevel), join(directory, 'result'));
  const installed = await installSystem({
    stagedRoot: join(directory, 'root'),
    toplevel: join(directory, 'result'),
    store: demo.store,
  });
  expect(installed.toplevel).toBe(toplevel);
});

test('accepts a closureInfo directory, and needs no database of the source', async () => {
  const directory = await tempDirectory();
  const info = join(directory, 'info');
  await mkdir(info);
  const uri = `local?root=${demo.store}`;
  const paths = await run(['nix-store', '--store', uri, '--query', '--requisites', toplevel], { env: NIX_ENV });
  await writeFile(join(info, 'store-paths'), paths);
  await writeFile(
    join(info, 'registration'),
    await run(['nix-store', '--store', uri, '--dump-db', ...paths.trim().split('\n')], { env: NIX_ENV }),
  );
  const root = join(directory, 'root');
  const installed = await installSystem({ stagedRoot: root, toplevel, store: demo.store, closureInfo: info });
  expect(installed.storePaths).toEqual(paths.trim().split('\n').sort());
  await run(['nix-store', '--store', `local?root=${encodeURIComponent(root)}`, '--verify', '--check-contents'], {
    env: NIX_ENV,
  });
});

test('installs a channel and additional paths', async () => {
  const root = join(await tempDirectory(), 'root');
  const other = demo.systems['tiny-systemd-boot'] ?? '';
  const installed = await installSystem({
    stagedRoot: root,
    toplevel,
    store: demo.store,
    channel: other,
    additionalPaths: [other],
  });
  expect(installed.storePaths).toContain(other);
  expect(await readlink(join(root, 'root/.nix-defexpr/channels'))).toBe('/nix/var/nix/profiles/per-user/root/channels');
  expect(await readlink(join(root, 'nix/var/nix/profiles/per-user/root/channels-1-link'))).toBe(other);
});

test.each([
  ['/nix/store/00000000000000000000000000000000-gone', /is not in the store/],
  ['/etc', /is not in the Nix store/],
  ['/nowhere', /does not exist/],
])('refuses %s as a system', async (wrong, message) => {
  const root = join(await tempDirectory(), 'root');
  const attempt = installSystem({ stagedRoot: root, toplevel: wrong, store: demo.store });
  await expect(attempt).rejects.toThrow(InvalidOptionsError);
  await expect(attempt).rejects.toThrow(message);
});

test('refuses a store path that is not a system', async () => {
  const root = join(await tempDirectory(), 'root');
  const busybox =
    (
      await run(['nix-store', '--store', `local?root=${demo.store}`, '--query', '--references', toplevel], {
        env: NIX_ENV,
      })
    )
      .split('\n')
      .find((path) => path.endsWith('-busybox')) ?? '';
  await expect(installSystem({ stagedRoot: root, toplevel: busybox, store: demo.store })).rejects.toThrow(
    /is not a NixOS system/,
  );
});

test('a symbolic link in contents never makes a write leave the root', async () => {
  const directory = await tempDirectory();
  const outside = join(directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'NIXOS'), 'precious');
  for (const [link, target] of [
    ['etc/NIXOS', join(outside, 'NIXOS')],
    ['nix/var/nix/db', outside],
    ['nix/store', outside],
  ] as const) {
    const root = join(directory, link.replaceAll('/', '-'));
    await mkdir(dirname(join(root, link)), { recursive: true });
    await symlink(target, join(root, link));
    await expect(installSystem({ stagedRoot: root, toplevel, store: demo.store })).rejects.toMatchObject({
      code: expect.stringMatching(/E_INVALID_OPTIONS|E_UNEXPECTED_STATE/),
    });
  }
  const root = join(directory, 'config');
  await mkdir(join(root, 'etc'), { recursive: true });
  await symlink(outside, join(root, 'etc/nixos'));
  await expect(writeConfigFile({ root, configFile: join(outside, 'NIXOS') })).rejects.toThrow(
    /a symbolic link leads .* elsewhere/,
  );
  expect(await readdir(outside)).toEqual(['NIXOS']);
  expect(await readFile(join(outside, 'NIXOS'), 'utf8')).toBe('precious');
});

test('a closureInfo that registers more paths than it lists is refused', async () => {
  const directory = await tempDirectory();
  const uri = `local?root=${demo.store}`;
  const paths = (await run(['nix-store', '--store', uri, '--query', '--requisites', toplevel], { env: NIX_ENV }))
    .trim()
    .split('\n');
  await writeFile(join(directory, 'store-paths'), `${toplevel}\n`);
  await writeFile(
    join(directory, 'registration'),
    await run(['nix-store', '--store', uri, '--dump-db', ...paths], { env: NIX_ENV }),
  );
  await expect(
    installSystem({ stagedRoot: join(directory, 'root'), toplevel, store: demo.store, closureInfo: directory }),
  ).rejects.toThrow(/which is not in store-paths/);
});

test('accepts the dangling link that nix-build --store creates', async () => {
  const directory = await tempDirectory();
  await symlink(toplevel, join(directory, 'result'));
  const installed = await installSystem({
    stagedRoot: join(directory, 'root'),
    toplevel: join(directory, 'result/'),
    store: demo.store,
  });
  expect(installed.toplevel).toBe(toplevel);
});
