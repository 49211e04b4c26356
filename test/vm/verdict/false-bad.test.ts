import { expect } from 'vitest';
import { commandCheck, equalCheck } from '../../../harness/verify/checks.ts';
import { HEALTHY_LINES } from './healthy-lines.ts';
import { testVerdicts, type VerdictCase } from './verdict-case.ts';
import { consoleProgram, SYSVINIT } from './words.ts';

// Good images that look broken: a line counts only if its program can have printed it, and if the machine does not continue.

/** Lines that units, services and users' scripts print after the start of init. */
const say = (lines: string): string => `${SYSVINIT}\ncat <<'END'\n${lines.trim()}\nEND`;

const REPORTED = `
[FAILED] Failed to start systemd-modules-load.service - Load Kernel Modules.
See 'systemctl status systemd-modules-load.service' for details.
[FAILED] Failed to start docker-prune.service - Docker image cleanup.
Failed to start Docker image cleanup.
docker[312]: Error opening /dev/sr0: No medium found
app[313]: Error reading configuration file /etc/app.conf, using defaults
Error reading configuration
Shell> help
grub> is the prompt of GRUB
Boot failed: 3 attempts, kept the old kernel
dracut: lzma: unsupported options, falling back to gzip
lzma: data is corrupt
zlib decompression error
backup[320]: write error: No space left on device
cp: cannot create regular file '/usr/share/x': Read-only file system
[ TIME ] Timed out waiting for device dev-disk-by\\x2dlabel-data.device - /dev/disk/by-label/data.
[DEPEND] Dependency failed for mnt-data.mount - /mnt/data.
[ TIME ] Timed out waiting for device dev-disk-by\\x2duuid-0c9d.device - /dev/disk/by-uuid/0c9d.
[DEPEND] Dependency failed for dev-disk-by\\x2duuid-0c9d.swap - /dev/disk/by-uuid/0c9d.
[DEPEND] Dependency failed for swap.target - Swaps.
[FAILED] Failed to mount mnt-backup.mount - /mnt/backup.`;

/** Failures of loaders, kernels and initrds, as in the log of another boot. */
const OTHERS = `
No bootable device
BdsDxe: No bootable option or device was found.
BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x3,0x0): Access Denied
UEFI Interactive Shell v2.2
error: file '/boot/vmlinuz' not found.
error: you need to load the kernel first.
Press any key to continue...
Entering rescue mode...
grub rescue> ls
GRUB Read Error
Could not find kernel image: linux
Failed to load COM32 file ldlinux.c32
EFI stub: ERROR: Failed to decompress kernel
XZ-compressed data is corrupt
 -- System halted
[    0.412000] Initramfs unpacking failed: invalid magic at start of compressed archive
[    0.204411] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)
[    0.500412] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    0.500500] Out of memory: Killed process 211 (stress) total-vm:2048kB
[    0.600412] I/O error, dev sr0, sector 0 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2
[    0.700412] EXT4-fs error (device sdb1): ext4_lookup:1855: inode #2: comm ls: deleted inode referenced: 12
Gave up waiting for root file system device.  Common problems:
ALERT!  UUID=0c9d does not exist.  Dropping to a shell!
(initramfs) exit
dracut:/# exit
Entering emergency mode. Exit the shell to continue.
stage 2 init script (/nix/store/abc/init) not found
An error occurred in stage 1 of the boot process, which must mount the
Activation script snippet 'users' failed (1)
systemd[1]: Freezing execution.
You are in emergency mode. After logging in, type "journalctl -xb" to view
Cannot open access to console, the root account is locked.
Give root password for maintenance
Failed to switch root: Specified switch root path '/sysroot' does not seem to be an OS tree
Please enter passphrase for disk cryptdata (cryptdata) on /data:
Enter passphrase for /dev/sdb1:
Welcome to your new installation of Small Linux!
Login incorrect
small login: `;

const OVERLAY = `
  mount -t ext4 -o ro "$(findfs $root)" /mnt
  insmod /modules/overlay.ko
  mkdir /up && mount -t tmpfs tmpfs /up && mkdir /up/upper /up/work /new
  mount -t overlay -o lowerdir=/mnt,upperdir=/up/upper,workdir=/up/work overlay /new
  for name in dev proc sys; do mount -o move /$name /new/$name; done
  mkdir -p /new/media/ro && mount -o move /mnt /new/media/ro
  exec switch_root /new /sbin/init`;

const LOOP = `
  mount -t ext4 "$(findfs $root)" /mnt
  insmod /modules/loop.ko
  mkdir /new
  dd if=/dev/zero of=/mnt/system.img bs=1M count=0 seek=16 2> /dev/null && mke2fs -F /mnt/system.img > /dev/null 2>&1
  mount -t ext2 -o loop /mnt/system.img /new
  for name in bin sbin etc root; do cp -a /mnt/$name /new/; done
  mkdir -p /new/dev /new/proc /new/sys /new/run /new/tmp /new/host
  for name in dev proc sys; do mount -o move /$name /new/$name; done
  mount -o move /mnt /new/host
  exec switch_root /new /sbin/init`;

const ROOT_DEVICE_SAYS = [
  "echo 'Begin: Waiting for suspend/resume device ... Begin: Running /scripts/local-block ... done.'",
  "echo 'Gave up waiting for suspend/resume device'",
  "echo 'waiting for device /dev/disk/by-label/data to appear.....'",
  "echo 'Timed out waiting for device /dev/disk/by-label/data, trying to mount anyway.'",
  "echo '[ TIME ] Timed out waiting for device dev-disk-by\\x2dlabel-swap.device - /dev/disk/by-label/swap.'",
].join('\n');

const CASES: readonly VerdictCase[] = [
  {
    boot: 'failed units, optional disks that are missing, and other filesystems that are full or read-only',
    guest: { firmware: 'bios', stage2: say(REPORTED) },
    verdict: 'good',
    also: (report) => expect(report.ignored).toEqual([]),
  },
  {
    boot: 'failed units, without a login',
    slow: true,
    guest: { stage2: say(REPORTED) },
    options: { login: false },
    verdict: 'good',
  },
  {
    boot: 'failures of other systems, printed by a program after the start of init',
    guest: { firmware: 'bios', stage2: say(OTHERS) },
    verdict: 'good',
  },
  {
    boot: 'messages of GRUB, systemd-boot and a kernel that continue',
    guest: {
      firmware: 'bios',
      loader: HEALTHY_LINES.loader
        .trim()
        .split('\n')
        .map((line) => `echo "${line.replaceAll('\\', '\\\\')}"`)
        .join('\n'),
      stage1: `while read -r line; do echo "<3>$line" > /dev/kmsg; done <<'END'\n${HEALTHY_LINES.kernel.trim()}\nEND`,
      stage2: SYSVINIT,
    },
    verdict: 'good',
  },
  {
    boot: 'messages of an initrd, units and a shutdown that continue',
    guest: {
      stage1: `cat <<'END'\n${HEALTHY_LINES['stage 1'].trim()}\nEND`,
      stage2: say(HEALTHY_LINES.init),
      files: {
        '/etc/rc.stop': `#!/bin/sh\ncat > /dev/console <<'END'\n${HEALTHY_LINES.shutdown.trim()}\nEND\nmount -o remount,ro /\n`,
      },
    },
    verdict: 'good',
  },
  {
    boot: 'failures of other systems, in the output of a command',
    slow: true,
    guest: { files: { '/etc/others': OTHERS.trim() } },
    options: {
      checks: [
        commandCheck('cat /etc/others'),
        commandCheck("echo 'Kernel panic - not syncing: no'; printf 'small login: '"),
      ],
    },
    verdict: 'good',
  },
  {
    boot: 'failures of other systems, written to the console while a check runs',
    guest: { files: { '/etc/others': OTHERS.trim() } },
    options: { checks: [equalCheck('sum', 'cat /etc/others > /dev/console; echo $((6 * 7))', '42')] },
    verdict: 'good',
  },
  {
    boot: "a program prints a kernel message with the kernel's current time",
    guest: {},
    options: {
      checks: [
        equalCheck(
          'sum',
          String.raw`read -r up rest < /proc/uptime; printf '[%8s0000] BUG: kernel NULL pointer dereference, address: 08\n' "$up" > /dev/console; echo $((6 * 7))`,
          '42',
        ),
      ],
    },
    verdict: 'good',
    also: ({ warnings }) => expect(warnings.join('\n')).toMatch(/printed by a program, .*: BUG: kernel NULL/),
  },
  {
    boot: 'GRUB reports an error and waits ten seconds for a key: a missing environment block',
    guest: { firmware: 'bios', loader: 'save_env recordfail\nload_env' },
    verdict: 'good',
    typedAt: [],
  },
  {
    boot: 'GRUB reports errors and waits ten seconds for a key: a missing terminal and command',
    slow: true,
    guest: { firmware: 'bios', loader: 'terminal_output gfxterm\nvbeinfo' },
    verdict: 'good',
    typedAt: [],
  },
  {
    boot: 'GRUB searches for a missing file',
    slow: true,
    guest: { firmware: 'bios', loader: 'search --no-floppy --label absent --set=root\nset root=hd0,msdos1' },
    verdict: 'good',
  },
  {
    boot: 'GRUB on two terminals',
    guest: {
      firmware: 'bios',
      loader: 'serial --unit=0 --speed=115200\nterminal_output serial console\necho "Loading"',
    },
    verdict: 'good',
  },
  {
    boot: 'the initrd waits in vain for disks other than the root',
    guest: { stage1: ROOT_DEVICE_SAYS, stage2: SYSVINIT },
    verdict: 'good',
  },
  {
    boot: "NixOS's systemd in the initrd, then in the system",
    guest: {
      stage1: String.raw`
        printf '\nWelcome to \033[0;38;2;126;186;228mNixOS 25.11 (Xantusia) (Initrd)\033[0m!\n\n'
        printf '[\033[0;32m  OK  \033[0m] Reached target \033[0;1;39mInitrd Default Target\033[0m.\n'`,
      stage2: String.raw`printf '\nWelcome to \033[0;38;2;126;186;228mNixOS 25.11 (Xantusia)\033[0m!\n\n'`,
    },
    verdict: 'good',
    also: ({ timeline }) => {
      const at = (stage: string): number => timeline.find((seen) => seen.stage === stage)?.atMs ?? Number.NaN;
      expect(at('stage 1')).toBeLessThan(at('init'));
    },
  },
  {
    boot: 'a root that is read-only by design',
    guest: {
      stage1: 'flags=ro',
      stage2: `${SYSVINIT}\ntouch /var/log/boot.log\necho small > /etc/hostname`,
      files: { '/etc/fstab': 'LABEL=small / ext4 ro 0 1\n' },
    },
    verdict: 'good',
  },
  {
    boot: 'a full /tmp',
    slow: true,
    guest: {
      stage2: `${SYSVINIT}\nmount -t tmpfs -o size=64k tmpfs /tmp\ndd if=/dev/zero of=/tmp/full bs=1k count=128`,
    },
    verdict: 'good',
  },
  {
    boot: 'a root under an overlay',
    guest: {
      firmware: 'bios',
      stage1: OVERLAY,
    },
    verdict: 'good',
  },
  {
    boot: 'a program computes in silence for a minute',
    guest: {
      stage2: `${SYSVINIT}\necho 'Generating public/private rsa key pair.'
        awk 'BEGIN { for (i = 0; i < 9000000; i++) s = (s * 31 + i) % 65537 }'`,
    },
    verdict: 'good',
    typedAt: [],
  },
  {
    boot: 'a root in a file, through a loop device',
    guest: { firmware: 'bios', stage1: LOOP },
    verdict: 'good',
  },
  {
    boot: 'a quiet kernel and a silent init',
    slow: true,
    guest: { parameters: 'quiet loglevel=0', files: { '/etc/issue': '' } },
    verdict: 'good',
  },
  {
    boot: 'a quiet kernel and a silent init, without a login',
    guest: { firmware: 'bios', parameters: 'quiet', files: { '/etc/issue': '' } },
    options: { login: false },
    verdict: 'good',
  },
  {
    boot: 'a kernel message in the middle of the prompt',
    guest: {
      stage2: SYSVINIT,
      files: consoleProgram(
        "printf 'small lo'; echo '<4>random: crng init done' > /dev/kmsg; printf 'gin: '; read -r name; exec login \"$name\"",
      ),
    },
    verdict: 'good',
  },
  {
    boot: 'a kernel message after the prompt',
    slow: true,
    guest: {
      stage2: SYSVINIT,
      files: consoleProgram(
        "(sleep 1; echo '<4>random: crng init done' > /dev/kmsg) & exec getty -L ttyS0 115200 vt100",
      ),
    },
    verdict: 'good',
  },
  {
    boot: 'a systemd status line over the prompt',
    guest: {
      stage2: SYSVINIT,
      files: consoleProgram(
        String.raw`(sleep 1; printf '\r\033[K[  OK  ] Finished cloud-final.service - Execute cloud user/final scripts.\r\n') & exec getty -L ttyS0 115200 vt100`,
      ),
    },
    verdict: 'good',
  },
  {
    boot: 'bytes that are not UTF-8, and control characters',
    guest: {
      stage2: String.raw`${SYSVINIT}; printf 'Gr\374n \200\201\377 \007\016x\017 \033]0;title\007 \033P0;1|q\033\\ \r\n'`,
    },
    verdict: 'good',
  },
  {
    boot: 'a systemd job that ends in time',
    guest: {
      stage2: String.raw`${SYSVINIT}; i=0; while [ $i -lt 24 ]; do
        printf '\r\033[K[ \033[0;31m*\033[0;1;31m*\033[0m\033[0;31m* \033[0m] A start job is running for /dev/disk/by-uuid/0c9d (%ds / 1min 30s)' $i
        i=$((i + 1)); sleep 1
      done; printf '\r\033[K[  OK  ] Found device /dev/disk/by-uuid/0c9d.\n'`,
    },
    verdict: 'good',
  },
  {
    boot: 'a line that is printed 25 times, a second apart, before the boot continues',
    guest: {
      stage1: 'i=0; while [ $i -lt 25 ]; do echo "Waiting for /dev/vda1 to appear ..."; sleep 1; i=$((i + 1)); done',
    },
    verdict: 'good',
  },
  {
    boot: 'twenty dots before the boot continues',
    slow: true,
    guest: { stage1: 'i=0; while [ $i -lt 20 ]; do printf .; sleep 1; i=$((i + 1)); done' },
    verdict: 'good',
  },
  {
    boot: 'a percentage during a long operation',
    slow: true,
    guest: {
      stage2: String.raw`${SYSVINIT}; i=0; while [ $i -le 100 ]; do printf '\rGrowing the filesystem: %3d %%' $i; i=$((i + 4)); sleep 1; done; echo`,
    },
    verdict: 'good',
  },
  {
    boot: 'an error in a filesystem other than the root',
    guest: {
      stage2: `${SYSVINIT}
        dd if=/dev/zero of=/tmp/other bs=1M count=4 2> /dev/null && mke2fs -F /tmp/other > /dev/null 2>&1
        insmod /boot/loop.ko
        mount -t ext4 -o loop /tmp/other /mnt && echo 1 > /sys/fs/ext4/loop0/trigger_fs_error; umount /mnt`,
    },
    verdict: 'good',
  },
];

testVerdicts(CASES);
