import { mkdir, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { containerExecutor } from '../../harness/builder/container-executor.ts';
import { cacheDirectory, packageFile } from '../../harness/cache-directory.ts';
import { equalCheck } from '../../harness/verify/checks.ts';
import { verifyBoot } from '../../harness/verify/verify-boot.ts';
import { buildImage } from '../../lib/build/build-image.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { inspectImage } from '../../lib/inspect/inspect-image.ts';
import { type DemoSystems, prepareDemo } from '../../vm-images/demo.ts';
import { prepareToolbox, TOOLBOXES, type Toolbox } from '../../vm-images/toolbox.ts';
import { run } from '../helpers/run.ts';

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

test.each(
  Object.keys(TOOLBOXES) as Toolbox[],
)('build --container with an encrypted root, all programs from %s', async (toolbox) => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-container-'));
  onTestFinished(() => removeTree(directory));
  // A host that has none of the programs of a build, only what every Linux has.
  await mkdir(join(directory, 'bin'));
  await symlink('/usr/bin/flock', join(directory, 'bin/flock'));
  const secrets = join(directory, 'secrets');
  await mkdir(secrets, { mode: 0o700 });
  const passphraseFile = join(secrets, 'passphrase');
  await writeFile(passphraseFile, 'correct horse\n', { mode: 0o600 });
  await writeFile(join(secrets, 'second'), 'battery staple', { mode: 0o600 });
  const encrypt = {
    passphraseFile,
    morePassphraseFiles: [join(secrets, 'second')],
    recoveryKeyFile: join(secrets, 'recovery-key'),
    keyDerivation: { type: 'pbkdf2', iterations: 1000 },
  };
  const out = join(directory, 'out');
  await run(
    [
      ...[process.execPath, packageFile('dist/cli/main.js'), 'build', '--container', await prepareToolbox(toolbox)],
      ...['--toplevel', demo.systems['tiny-grub-hybrid-luks'] ?? '', '--store', demo.store],
      ...['--partition-table-type', 'hybrid', '--boot-loader-from', 'bootspec', '--boot-size', '140M'],
      ...['--encrypt', JSON.stringify(encrypt), '--out', out],
    ],
    { env: { PATH: join(directory, 'bin'), DOCKER_HOST: process.env.DOCKER_HOST ?? '' } },
  );
  const recoveryKey = (await readFile(encrypt.recoveryKeyFile, 'utf8')).trim();
  for (const secret of ['correct horse', 'battery staple', recoveryKey]) {
    await writeFile(join(directory, 'secret'), secret);
    const { findings, generations } = await inspectImage({
      ...{ image: join(out, 'nixos.img'), passphraseFile: join(directory, 'secret') },
    });
    expect(findings).toEqual([]);
    expect(generations).toHaveLength(1);
  }
  // What programs in the container made belongs to this user, and nothing of the work is left.
  expect(await run(['find', directory, '-not', '-user', `${process.getuid?.()}`])).toBe('');
  expect((await run(['ls', '-A', out])).trim().split('\n').sort()).not.toContainEqual(expect.stringMatching(/^\./));
});

test.each(
  Object.keys(TOOLBOXES) as Toolbox[],
)('build --container with partitions, all programs from %s', async (toolbox) => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-container-'));
  onTestFinished(() => removeTree(directory));
  await mkdir(join(directory, 'bin'));
  await symlink('/usr/bin/flock', join(directory, 'bin/flock'));
  // Outside of what is always mounted.
  const elsewhere = await mkdtemp(join(cacheDirectory(), 'container-'));
  onTestFinished(() => removeTree(elsewhere));
  const files = join(elsewhere, 'at 10:30, all*');
  await mkdir(join(files, 'seed'), { recursive: true });
  await writeFile(join(files, 'seed/file'), 'from this host');
  await writeFile(join(files, 'motd'), 'of a link to a link');
  const links = join(elsewhere, 'links');
  await mkdir(links);
  await symlink('../at 10:30, all*/motd', join(links, 'motd'));
  await symlink(join(links, 'motd'), join(directory, 'motd'));
  const seed = join(directory, 'seed');
  await symlink(join(files, 'seed'), seed);
  const partitions = [
    { type: 'esp', size: '80M', mountPoint: '/boot' },
    { type: 'swap', size: '1M' },
    { mountPoint: '/', size: '64M' },
    { mountPoint: '/nix/store', filesystem: 'erofs', label: 'store', compression: 'lz4' },
    { mountPoint: '/home', filesystem: 'btrfs' },
    { mountPoint: '/var', filesystem: 'xfs' },
    { populateFrom: seed, filesystem: 'squashfs', compression: 'xz' },
  ];
  const out = join(directory, 'out');
  await writeFile(
    join(directory, 'image.json'),
    JSON.stringify({
      ...{ toplevel: demo.systems['tiny-systemd-boot'], store: demo.store, partitions },
      contents: [
        { source: join(directory, 'motd'), target: '/etc/motd' },
        { source: join(elsewhere, 'at*/s*d'), target: '/srv' },
      ],
      ...{ bootLoaderFrom: 'bootspec', additionalSpace: '16M' },
    }),
  );
  await run(
    [
      ...[process.execPath, packageFile('dist/cli/main.js'), 'build', '--container', await prepareToolbox(toolbox)],
      ...[join(directory, 'image.json'), '--out', out],
    ],
    { env: { PATH: join(directory, 'bin'), DOCKER_HOST: process.env.DOCKER_HOST ?? '' } },
  );
  const { partitions: made, findings } = await inspectImage({ image: join(out, 'nixos.img'), deep: true });
  expect(findings.map(({ code }) => code)).toEqual(['not-looked-at-further']);
  expect(made.map(({ filesystem }) => filesystem?.type)).toEqual([
    ...['vfat', 'swap', 'ext4', 'erofs', 'btrfs', 'xfs', 'squashfs'],
  ]);
  expect(await run(['find', directory, '-not', '-user', `${process.getuid?.()}`])).toBe('');
});

test('subvolumes, which Debian 12 cannot make, boot', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-container-'));
  onTestFinished(() => removeTree(directory));
  await writeFile(join(directory, 'file'), 'of this host');
  await using container = await containerExecutor({
    ...{ image: await prepareToolbox('debian-13'), directories: [demo.store], namespaces: true },
  });
  const { image } = await buildImage(
    {
      ...{ toplevel: demo.systems['tiny-systemd-boot-subvolumes'] ?? '', store: demo.store },
      ...{ outDir: join(directory, 'out'), bootLoaderFrom: 'bootspec', additionalSpace: '16M' },
      partitions: [
        { type: 'esp', size: '80M', mountPoint: '/boot' },
        {
          subvolumes: [
            { path: '@', mountPoint: '/' },
            { path: '/@home', mountPoint: '/home' },
            { path: 'vols/@nix', mountPoint: '/nix' },
            { path: 'snapshots: all' },
          ],
        },
      ],
      contents: [
        { source: join(directory, 'file'), target: '/home/alice/file', mode: '640', user: '1000', group: '100' },
      ],
    },
    { executor: container },
  );
  const mounted = (at: string): string =>
    `sed -n 's/^\\S* \\(${at.replaceAll('/', '\\/')} btrfs\\) .*,subvol=\\(\\S*\\) .*/\\1 \\2/p' /proc/mounts`;
  const checks = [
    equalCheck('the root', mounted('/'), '/ btrfs /@'),
    equalCheck('/home', mounted('/home'), '/home btrfs /@home'),
    equalCheck('/nix', mounted('/nix'), '/nix btrfs /vols/@nix'),
    equalCheck('a file', "stat -c '%a %u:%g' /home/alice/file", '640 1000:100'),
    equalCheck('the owner of the rest', 'stat -c %u:%g / /home /nix /nix/store | uniq', '0:0'),
    equalCheck(
      'all subvolumes',
      'mkdir /top; mount -o subvol=/ /dev/vda2 /top; stat -c "%i %n" /top/* /top/vols/* | sort | grep ^256 | cut -d/ -f3-',
      '@\n@home\nsnapshots: all\nvols/@nix',
    ),
  ];
  const report = await verifyBoot({ image, firmware: 'efi', checks });
  expect(report.ok, JSON.stringify(report.failure)).toBe(true);
});
