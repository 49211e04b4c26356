import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { commandCheck } from '../../../harness/verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { type ForeignImage, foreignImage } from '../../helpers/foreign/foreign-image.ts';
import { run } from '../../helpers/run.ts';
import { tempFolder } from '../../helpers/temp-folder.ts';

// Images that never heard of this project. Each is good, and so is the verdict.

const root = { user: 'root', password: 'foreign' };
const passphrase = 'correct horse';

interface Row extends Pick<VerifyBootOptions, 'login' | 'passphrase'> {
  readonly name: ForeignImage;
  readonly firmware: 'legacy' | 'efi';
  /** What is true inside, and only in this image. */
  readonly check: string;
}

const ROWS: readonly Row[] = [
  { name: 'busybox-grub', firmware: 'legacy', login: root, check: 'test -f /etc/inittab' },
  { name: 'busybox-grub', firmware: 'efi', login: root, check: 'test -d /sys/firmware/efi' },
  { name: 'busybox-syslinux', firmware: 'legacy', login: root, check: 'grep -q askfirst /etc/inittab' },
  { name: 'debian-12', firmware: 'efi', login: root, check: 'grep -q bookworm /etc/os-release' },
  { name: 'debian-12-live', firmware: 'efi', login: root, check: 'grep -q "^overlay / " /proc/mounts' },
  { name: 'debian-12-luks', firmware: 'legacy', login: root, passphrase, check: 'test -b /dev/mapper/cryptroot' },
  { name: 'debian-12-openrc', firmware: 'legacy', login: root, check: 'rc-status -s default > /dev/null' },
  {
    name: 'debian-12-quiet-german',
    firmware: 'legacy',
    login: root,
    check: 'grep -Eq "^[^ ]+ / ext4 ro" /proc/mounts',
  },
  {
    name: 'debian-12-sysvinit',
    firmware: 'legacy',
    login: { user: 'plain', password: 'foreign' },
    check: 'test "$(cat /proc/1/comm)" = init',
  },
  { name: 'debian-12-troubled', firmware: 'legacy', login: root, check: 'systemctl is-failed scanner.service' },
  { name: 'debian-13-luks-japanese', firmware: 'efi', login: root, passphrase, check: 'test -b /dev/mapper/root' },
  { name: 'debian-13-systemd-boot', firmware: 'efi', login: root, check: 'grep -q trixie /etc/os-release' },
  {
    name: 'debian-13-uki',
    firmware: 'efi',
    login: { user: 'wheel', password: 'foreign' },
    check: 'test "$(id -un)" = wheel',
  },
  { name: 'debian-13-uki-btrfs', firmware: 'efi', login: root, check: 'grep -q "/ btrfs .*subvol=/@" /proc/mounts' },
];

test.each(ROWS)('$name boots: $firmware', async ({ name, firmware, check, ...options }) => {
  const image = await foreignImage(name);
  const report = await verifyBoot({ image, firmware, checks: [commandCheck(check)], ...options });
  expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
});

const facts = async (file: string): Promise<unknown> => [
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex'),
  (await stat(file)).mtimeMs,
];

test('an image stays as it is', async () => {
  const image = await foreignImage('debian-12');
  const before = await facts(image);
  const report = await verifyBoot({ image, firmware: 'legacy', login: root });
  expect(report.failure, report.console.slice(-20).join('\n')).toBeUndefined();
  expect(report.warnings).toEqual([]);
  expect(await facts(image)).toEqual(before);
});

/** Where the root of the image debian-12 begins: behind 1 MiB for the table, 1 MiB of GRUB, an ESP of 4 MiB. */
const DEBIAN_12_ROOT = 6 << 20;

test.each(['legacy', 'efi'] as const)('without a serial console it is judged by its screen: %s', async (firmware) => {
  const folder = await tempFolder();
  const silent = join(folder, 'silent.img');
  await run(['cp', '--sparse=always', await foreignImage('debian-12'), silent]);
  const at = `./silent.img?offset=${DEBIAN_12_ROOT}`;
  await run(['debugfs', '-R', 'dump /boot/grub/grub.cfg grub.cfg', at], { cwd: folder });
  await run(['sed', '-i', 's/ console=ttyS0,115200//', 'grub.cfg'], { cwd: folder });
  const input = 'rm /boot/grub/grub.cfg\ncd /boot/grub\nwrite grub.cfg grub.cfg\n';
  await run(['debugfs', '-w', '-f', '-', at], { cwd: folder, input });

  const asked = await verifyBoot({ image: silent, firmware, login: root });
  expect(asked.failure, asked.console.slice(-20).join('\n')).toMatchObject({
    name: 'no-serial-console',
    stage: 'login',
  });

  const trusted = await verifyBoot({ image: silent, firmware, login: false });
  expect(trusted.failure).toBeUndefined();
  expect(trusted.warnings.join('\n')).toMatch(/judged by the screen/);
});
