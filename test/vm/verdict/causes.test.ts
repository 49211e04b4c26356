import { expect } from 'vitest';
import { equalCheck } from '../../../harness/verify/checks.ts';
import { FOREVER, testVerdicts, type VerdictCase } from './verdict-case.ts';
import { consoleProgram, SYSVINIT } from './words.ts';

// The causes of failed boots: new output is progress, repeated output is not, and each stage has its own failures.

const checks = [equalCheck('a shell answers', 'echo $((6 * 7))', '42')];
const UUID = '0c9df1a2-3f52-4d0a-9a55-5d5e5d6b7c11';

/** The status lines of a waiting systemd, each of which overwrites the one before. @see systemd src/core/manager.c, show-status.c */
const jobFor = (what: string, limit: string): string => String.raw`
  i=2
  while :; do
    printf '\033M\r\033[K[ \033[0;31m*\033[0;1;31m*\033[0m\033[0;31m* \033[0m] %s (%ds / ${limit})\r\n\033[K' '${what}' $i
    i=$((i + 1)); sleep 1
  done`;

/** A minimal ELF file for x86_64 with one instruction that jumps to itself. */
const TIGHT_LOOP = ((): Buffer => {
  const file = Buffer.alloc(122);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeUInt16LE(2, 16); // executable
  file.writeUInt16LE(62, 18); // x86_64
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(0x400078n, 24); // entry
  file.writeBigUInt64LE(64n, 32); // the program header's offset
  file.writeUInt16LE(64, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(1, 56);
  file.writeUInt32LE(1, 64); // to load
  file.writeUInt32LE(5, 68); // read and execute
  file.writeBigUInt64LE(0x400000n, 80);
  file.writeBigUInt64LE(0x400000n, 88);
  file.writeBigUInt64LE(122n, 96);
  file.writeBigUInt64LE(122n, 104);
  file.writeBigUInt64LE(0x1000n, 112);
  file.writeUInt16LE(0xfeeb, 120); // jmp to itself
  return file;
})();

/** Silent work of many kinds, for about this many seconds in the guest. */
const silentWork = (seconds: number): string => `
  end=$(($(date +%s) + ${seconds}))
  while [ $(date +%s) -lt $end ]; do
    head -c 300000 /bin/busybox | gzip | sha256sum > /dev/null
    head -c 200000 /bin/busybox | bzip2 | md5sum > /dev/null
    seq 1 3000 | sort -r | awk '{ s += $1 * $1 } END { print s }' > /dev/null
  done`;

const grubConfig = (config: string): VerdictCase['guest'] => ({
  firmware: 'bios',
  files: { '/boot/grub/grub.cfg': config },
});

const CASES: readonly VerdictCase[] = [
  {
    boot: 'GRUB repeats the same attempt',
    guest: {
      firmware: 'bios',
      loader: 'while true; do\nsearch --no-floppy --fs-uuid --set=root ABCD-1234\nsleep 1\ndone',
    },
    verdict: {
      name: 'repeats-itself',
      stage: 'loader',
      cause: /can't find command `search'|no such device: ABCD-1234/,
      withinMs: 180_000,
    },
  },
  {
    boot: 'GRUB repeats the same attempt as fast as it can',
    slow: true,
    guest: { firmware: 'bios', loader: 'while true; do\nsearch --no-floppy --fs-uuid --set=root ABCD-1234\ndone' },
    verdict: {
      name: 'repeats-itself',
      stage: 'loader',
      cause: /can't find command `search'|no such device: ABCD-1234/,
      withinMs: 180_000,
    },
  },
  {
    boot: 'the initrd repeats the same attempt',
    slow: true,
    guest: {
      stage1: "while :; do echo 'Volume group \"vg\" not found'; echo 'Cannot process volume group vg'; sleep 1; done",
    },
    verdict: { name: 'repeats-itself', stage: 'stage 1', cause: /volume group/i, withinMs: 180_000 },
  },
  {
    boot: 'the kernel repeats the same message with new time stamps',
    slow: true,
    guest: {
      stage1: "while :; do echo '<3>usb 1-1: device descriptor read/64, error -110' > /dev/kmsg; sleep 1; done",
    },
    verdict: { name: 'repeats-itself', cause: /device descriptor read/, withinMs: 180_000 },
  },
  {
    boot: 'systemd waits for a device without a time limit',
    guest: {
      stage2: `echo 'Welcome to Small Linux!'\n${jobFor(`A start job is running for /dev/disk/by-uuid/${UUID}`, 'no limit')}`,
    },
    verdict: { name: 'waits-for-job', stage: 'init', cause: new RegExp(UUID), withinMs: 180_000 },
  },
  {
    boot: 'systemd waits for a service without a time limit, in the newer wording',
    slow: true,
    guest: {
      stage2: `echo 'Welcome to Small Linux!'\n${jobFor('Job cloud-init-local.service/start running', 'no limit')}`,
    },
    verdict: { name: 'waits-for-job', stage: 'init', cause: /cloud-init-local\.service/, withinMs: 180_000 },
  },
  {
    boot: 'systemd waits in the initrd for the root device without a time limit',
    slow: true,
    guest: {
      stage1: String.raw`printf '\nWelcome to \033[0;1;39mNixOS 25.11 (Xantusia) (Initrd)\033[0m!\n\n'
        ${jobFor(`A start job is running for /dev/disk/by-uuid/${UUID}`, 'no limit')}`,
    },
    verdict: {
      name: ['waits-for-job', 'root-device-missing'],
      stage: 'stage 1',
      cause: new RegExp(UUID),
      withinMs: 180_000,
    },
  },
  {
    boot: 'endless dots in the initrd',
    slow: true,
    guest: {
      stage1: "printf 'waiting for device /dev/disk/by-label/nixos to appear'; while :; do printf .; sleep 1; done",
    },
    verdict: {
      name: ['repeats-itself', 'root-device-missing', 'hang'],
      stage: 'stage 1',
      cause: /by-label\/nixos/,
      withinMs: 180_000,
    },
  },
  {
    boot: 'endless dots in the system',
    slow: true,
    guest: { stage2: `${SYSVINIT}\nprintf 'Waiting for network'; while :; do printf .; sleep 1; done` },
    verdict: { name: ['repeats-itself', 'hang'], stage: 'init', cause: /Waiting for network/, withinMs: 180_000 },
  },
  {
    boot: 'an endless counter',
    slow: true,
    guest: {
      stage2: `${SYSVINIT}\ni=0; while :; do echo "Attempt $i to reach the metadata service failed"; i=$((i + 1)); sleep 1; done`,
    },
    verdict: { name: 'repeats-itself', stage: 'init', cause: /metadata service/, withinMs: 180_000 },
  },
  {
    boot: 'one line repeated as fast as possible',
    guest: { stage2: `${SYSVINIT}\nyes 'getty: /dev/ttyS0: tcgetattr: Input/output error'` },
    verdict: { name: ['repeats-itself', 'console-flood'], stage: 'init', cause: /tcgetattr|floods the console/ },
  },
  {
    boot: "NixOS's systemd in the initrd does not find the root",
    guest: {
      stage1: String.raw`
        printf '\nWelcome to \033[0;38;2;126;186;228mNixOS 25.11 (Xantusia) (Initrd)\033[0m!\n\n'
        printf '[\033[0;1;31m TIME \033[0m] Timed out waiting for device \033[0;1;39mdev-disk-by\x2duuid-${UUID}.device\033[0m - /dev/disk/by-uuid/${UUID}.\r\n'
        printf '[\033[0;1;38:5:185mDEPEND\033[0m] Dependency failed for \033[0;1;39msysroot.mount\033[0m - /sysroot.\r\n'
        printf '[\033[0;1;38:5:185mDEPEND\033[0m] Dependency failed for \033[0;1;39minitrd-root-fs.target\033[0m - Initrd Root File System.\r\n'
        printf '\r\nCannot open access to console, the root account is locked.\r\nSee sulogin(8) man page for more details.\r\n\r\nPress Enter to continue.\r\n'
        read -r line; ${FOREVER}`,
    },
    verdict: {
      name: ['root-device-missing', 'emergency'],
      stage: 'stage 1',
      cause: new RegExp(`Timed out waiting for device .*${UUID}`),
      withinMs: 30_000,
    },
    typedAt: [],
  },
  {
    boot: 'systemd 257 in the initrd does not find the root',
    slow: true,
    guest: {
      stage1: String.raw`
        printf '\033[0;1;39mBooting initrd of \033[0m\033[0;38;2;126;186;228mNixOS 26.05 (Yarara) (Initrd)\033[0m\033[0;1;39m.\033[0m\r\n'
        printf '[ TIME ] Timed out waiting for device dev-disk-by\x2dlabel-nixos.device - /dev/disk/by-label/nixos.\r\n'
        printf '[DEPEND] Dependency failed for sysroot.mount - /sysroot.\r\n'
        ${FOREVER}`,
    },
    verdict: { name: 'root-device-missing', stage: 'stage 1', cause: /by-label\/nixos/ },
  },
  {
    boot: "the serial port's device does not appear, so no getty runs on it",
    slow: true,
    guest: {
      stage2: String.raw`
        printf '\nWelcome to Small Linux!\n\n'
        printf '[ TIME ] Timed out waiting for device dev-ttyS0.device - /dev/ttyS0.\n'
        printf '[DEPEND] Dependency failed for serial-getty@ttyS0.service - Serial Getty on ttyS0.\n'
        ${FOREVER}`,
    },
    verdict: {
      name: ['device-timeout', 'no-serial-console', 'hang'],
      stage: 'init',
      cause: /ttyS0/,
      notCause: /no console=/,
      withinMs: 180_000,
    },
  },
  {
    boot: 'no getty runs, although the kernel printed to that port',
    slow: true,
    guest: { files: { '/etc/inittab': '::sysinit:/etc/rc.start\n::shutdown:/etc/rc.stop\n' }, stage2: SYSVINIT },
    verdict: { name: ['no-serial-console', 'hang'], stage: 'init', notCause: /no console=/, withinMs: 180_000 },
  },
  {
    boot: 'getty ends at once, repeatedly',
    slow: true,
    guest: {
      stage2: SYSVINIT,
      files: consoleProgram("echo 'getty: setsid: Operation not permitted'; sleep 1; exit 1"),
    },
    verdict: { name: ['repeats-itself', 'no-serial-console'], stage: 'init', cause: /setsid/, withinMs: 180_000 },
  },
  {
    boot: 'GRUB on two terminals, without anything to boot',
    guest: grubConfig(
      'serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n',
    ),
    verdict: { name: 'grub-prompt', stage: 'loader' },
    typedAt: [],
  },
  {
    boot: 'GRUB on two terminals, with a syntax error',
    guest: grubConfig(
      'serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\nif true; then\n}\nfi\n',
    ),
    verdict: { name: ['grub-prompt', 'grub-error'], stage: 'loader', cause: /syntax error|prompt/i },
    typedAt: [],
  },
  {
    boot: 'GRUB cannot find the kernel',
    slow: true,
    guest: grubConfig(
      'serial --unit=0 --speed=115200\nterminal_output serial console\nset timeout=0\nmenuentry Small {\n  linux /boot/absent\n  initrd /boot/initrd\n}\n',
    ),
    verdict: { name: 'grub-error', stage: 'loader', cause: /absent/ },
    typedAt: [],
  },
  {
    boot: "SYSLINUX's messages",
    guest: {
      firmware: 'bios',
      loader:
        'echo "SYSLINUX 6.04 EDD 6.04-pre3 Copyright (C) 1994-2015 H. Peter Anvin et al"\necho "Failed to load ldlinux.c32"\necho "Boot failed: please change disks and press a key to continue."\nread line',
    },
    verdict: { name: 'syslinux', stage: 'loader', cause: /ldlinux\.c32/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: "SYSLINUX's messages: a missing kernel",
    slow: true,
    guest: { firmware: 'bios', loader: 'echo "Could not find kernel image: linux"\necho -n "boot: "\nread line' },
    verdict: { name: 'syslinux', stage: 'loader', cause: /kernel image: linux/, withinMs: 30_000 },
    typedAt: [],
  },
  {
    boot: 'the initrd runs one instruction endlessly',
    slow: true,
    guest: {
      stage1: `mount -t ext4 -o ro "$(findfs $root)" /mnt; exec /mnt/loop`,
      files: { '/loop': TIGHT_LOOP },
    },
    verdict: { name: 'hang', stage: 'stage 1', cause: /loop/, withinMs: 180_000 },
  },
  {
    boot: 'the initrd computes in silence for half a minute, then continues',
    slow: true,
    guest: { stage1: silentWork(30), stage2: SYSVINIT },
    options: { checks },
    verdict: 'good',
  },
  {
    boot: 'an error in the root filesystem',
    guest: { stage2: `${SYSVINIT}\necho 1 > /sys/fs/ext4/vda1/trigger_fs_error` },
    verdict: { name: 'filesystem-error', cause: /EXT4-fs error \(device vda1\)/ },
  },
  {
    boot: 'a tolerated error in the root filesystem',
    guest: { stage2: `${SYSVINIT}\necho 1 > /sys/fs/ext4/vda1/trigger_fs_error` },
    options: { checks, ignore: ['filesystem-error'] },
    verdict: 'good',
    also: ({ ignored }) => expect(ignored.map(({ code }) => code)).toEqual(['filesystem-error']),
  },
  {
    boot: 'a tolerated failure does not occur',
    slow: true,
    guest: { stage2: SYSVINIT },
    options: { checks, ignore: ['filesystem-error'] },
    verdict: 'good',
    also: ({ ignored }) => expect(ignored).toEqual([]),
  },
  {
    boot: 'a tolerated failure still ends the boot',
    guest: { stage1: `printf 'Please unlock disk vda2_crypt: '; read -r line; ${FOREVER}` },
    options: { ignore: ['asks-for-passphrase', 'filesystem-error'] },
    verdict: { name: 'asks-for-passphrase', stage: 'stage 1' },
  },
  {
    boot: 'the guest reboots during its first boot, and one reboot is allowed',
    guest: { stage2: `${SYSVINIT}\n[ -e /etc/second ] || { touch /etc/second; sync; reboot -f; }` },
    options: { checks, allowReboots: 1 },
    verdict: 'good',
    also: ({ reboots }) => expect(reboots).toBe(1),
  },
  {
    boot: 'the guest reboots during its first boot, and no reboot is allowed',
    guest: { stage2: `${SYSVINIT}\n[ -e /etc/second ] || { touch /etc/second; sync; reboot -f; }` },
    verdict: { name: 'machine-reset', stage: 'init' },
  },
  {
    boot: 'the guest reboots during every boot',
    slow: true,
    guest: { stage2: `${SYSVINIT}\nreboot -f` },
    options: { allowReboots: 1 },
    verdict: { name: 'machine-reset', stage: 'init' },
  },
  {
    boot: 'a systemd credential',
    guest: { stage2: SYSVINIT },
    options: {
      checks: [
        equalCheck(
          'it arrives',
          "strings /sys/firmware/dmi/tables/DMI | grep -c 'io.systemd.credential.binary:motd=aGVsbG8sIHNtYWxsIGd1ZXN0'",
          '1',
        ),
      ],
      credentials: { motd: 'hello, small guest' },
    },
    verdict: 'good',
  },
];

testVerdicts(CASES);
