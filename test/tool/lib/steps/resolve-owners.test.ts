import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resolveOwners } from '../../../../lib/steps/resolve-owners.ts';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { fakeSystem, storePath } from '../../../helpers/fake-system.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const entry = (user: string, group: string) => ({ target: '/srv/x', user, group });

test('names are looked up in the users-groups file of the system’s activation script', async () => {
  const demo = await prepareDemo();
  const toplevel = demo.systems['demo-grub-bios'] ?? '';
  const owners = await resolveOwners({
    ...{ toplevel, store: demo.store },
    contents: [entry('alice', 'wheel'), { target: '/srv/plain' }, entry('root', 'users'), entry('1234', '5678')],
  });
  expect(owners).toEqual([
    { index: 0, target: '/srv/x', uid: 1000, gid: 1 },
    { index: 2, target: '/srv/x', uid: 0, gid: 100 },
    { index: 3, target: '/srv/x', uid: 1234, gid: 5678 },
  ]);
});

const usersGroups = storePath('users-groups.json');
const declared = (users: object[], groups: object[]) => ({
  [`${storePath('nixos-system-fake')}/activate`]: `#!/bin/sh\nperl update-users-groups.pl ${usersGroups}\n`,
  [usersGroups]: JSON.stringify({ mutableUsers: true, users, groups }),
});

test('a name without an ID and an undeclared name are reported together, with what to do', async () => {
  const directory = await tempDirectory();
  const system = await fakeSystem(join(directory, 'store'), {
    files: declared([{ name: 'nginx', uid: null, group: 'nginx' }], [{ name: 'nginx', gid: 60 }]),
  });
  const attempt = resolveOwners({
    ...system,
    contents: [entry('nginx', 'nginx'), entry('bob', 'nginx')],
  } as never).catch((error: unknown) => error);
  await expect(attempt).resolves.toBeInstanceOf(Error);
  const options = {
    toplevel: system.toplevel,
    store: system.store,
    contents: [entry('nginx', 'nginx'), entry('bob', 'nginx')],
  };
  await expect(resolveOwners(options)).rejects.toMatchObject({
    code: 'E_INVALID_OPTIONS',
    issues: [
      { path: 'contents[0].user', message: expect.stringContaining('users.users.nginx.uid') },
      { path: 'contents[1].user', message: 'the system does not declare the user bob' },
    ],
  });
  await expect(resolveOwners(options)).rejects.toThrow(/switch-to-configuration/);
});

test('sysusers.d and the passwd in the system’s /etc are read too', async () => {
  const directory = await tempDirectory();
  const etc = `${storePath('nixos-system-fake')}/etc`;
  const system = await fakeSystem(join(directory, 'store'), {
    files: {
      [`${etc}/sysusers.d/00-nixos.conf`]: 'g web 70\nu caddy 239:web "Caddy" /var/lib/caddy\nu later - "Later"\n',
      [`${etc}/passwd`]: 'carol:x:1001:100::/home/carol:/bin/sh\n',
      [`${etc}/group`]: 'users:x:100:\n',
    },
  });
  const find = (user: string, group: string) =>
    resolveOwners({ toplevel: system.toplevel, store: system.store, contents: [entry(user, group)] });
  expect(await find('caddy', 'web')).toMatchObject([{ uid: 239, gid: 70 }]);
  expect(await find('carol', 'users')).toMatchObject([{ uid: 1001, gid: 100 }]);
  await expect(find('later', 'web')).rejects.toThrow(/without an ID/);
});

test('users that userborn creates are looked up in the configuration of its service', async () => {
  const config = storePath('userborn.json');
  const users = [{ name: 'alice', uid: 1000, group: 'users', isNormal: true, home: '/home/alice' }];
  const groups = [{ name: 'users', gid: 100, members: [] }];
  const system = await fakeSystem(join(await tempDirectory(), 'store'), {
    files: {
      [`${storePath('nixos-system-fake')}/activate`]: '#!/bin/sh\n# Nothing of users.\n',
      [`${storePath('nixos-system-fake')}/etc/systemd/system/userborn.service`]: `[Service]\nExecStart=${storePath('userborn')}/bin/userborn ${config} /etc\n`,
      [config]: JSON.stringify({ users, groups }),
    },
  });
  const contents = [entry('alice', 'users')];
  const owners = await resolveOwners({ toplevel: system.toplevel, store: system.store, contents });
  expect(owners).toEqual([{ index: 0, target: '/srv/x', uid: 1000, gid: 100 }]);
});
