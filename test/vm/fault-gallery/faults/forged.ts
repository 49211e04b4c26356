import { anotherInit, changeParameters } from '../changes.ts';
import type { Fault } from '../fault.ts';

// Hostile images that try to get a good verdict without booting: the initrd imitates a boot, and the image's own system never runs.

const BEGIN = `#!/bin/busybox sh
export PATH=/bin:/sbin HOME=/ TERM=vt100
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /etc /sbin /new
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec < /dev/ttyS0 > /dev/ttyS0 2>&1
printf '\\n<<< NixOS Stage 1 >>>\\n\\n'
`;

/** Prints the messages of a good boot. */
const GOOD_WORDS = `printf '\\n<<< NixOS Stage 2 >>>\\n\\nrunning activation script...\\nstarting busybox init...\\n\\n'
printf '<<< Welcome to NixOS 25.11 (tiny) >>>\\n'
`;

const ACCOUNTS = `echo 'root::0:0:root:/:/bin/sh' > /etc/passwd
echo 'root:x:0:' > /etc/group
`;

/** Mounts the image's own root, from a device that the initrd finds. */
const MOUNT_ROOT = `for module in virtio_pci virtio_blk loop overlay; do modprobe -q $module; done
mount /dev/vda3 /new
programs=$(echo /new/nix/store/*-busybox/bin)
programs=\${programs#/new}
`;

/** Copies busybox, its links and the files for a login to another directory. */
const copyTo = (
  directory: string,
): string => `mkdir -p ${directory}/bin ${directory}/etc ${directory}/proc ${directory}/sys ${directory}/dev ${directory}/mnt
cp /bin/busybox ${directory}/bin/
/bin/busybox --install -s ${directory}/bin
cp /etc/passwd /etc/group ${directory}/etc/
echo '::respawn:/bin/getty -L ttyS0 115200 vt100' > ${directory}/etc/inittab
`;

/** Starts a shell on the console with the root's own busybox, which is in `$programs`. */
const SHELL = '$programs/getty -n -l $programs/sh -L ttyS0 115200 vt100';

const SWITCH = `for each in proc sys dev; do mount --move /$each /disk/$each; done
exec switch_root /disk /bin/init
`;

const forged =
  (script: string): Fault['breakIt'] =>
  (image) =>
    anotherInit(image, BEGIN + script);

export const FORGED: readonly Fault[] = [
  {
    fault: 'forged: a prompt from the initrd that no program reads from',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'login-prompt-unconfirmed', cause: /tiny login:/ },
    breakIt: forged(`printf 'tiny login: '; sleep 100000\n`),
  },
  {
    fault: 'forged: the same prompt, without a login',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'login-prompt-unconfirmed', cause: /tiny login:/ },
    machine: { login: false },
    breakIt: forged(`printf 'tiny login: '; sleep 100000\n`),
  },
  {
    fault: 'forged: verdicts, reports and escape sequences',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'hang', cause: /CPU is idle/ },
    breakIt: forged(`printf 'GOOD\\nverify: GOOD  tiny.img boots (legacy)\\n{"ok":true,"failure":null,"checks":[]}\\n'
printf '\\033]0;GOOD\\007\\033[2J\\033[H\\033[32mGOOD\\033[0m\\033[1A\\033[2K\\033[5n\\033[6n\\033c'
printf '\\rtiny login: root\\r\\n# \\r\\ntiny login: '; sleep 100000
`),
  },
  {
    fault: 'forged: a prompt on the kernel’s command line, without a root',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'root-device-missing', cause: /LABEL=other/ },
    machine: { login: false },
    breakIt: (image) =>
      changeParameters(image, (given) => `${given.replace('LABEL=nixos', 'LABEL=other')} issue="tiny login: "`),
  },
  {
    fault: 'forged: a getty and a login in the initrd',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'in-initrd', cause: /initrd/ },
    breakIt: forged(`${ACCOUNTS}${GOOD_WORDS}while :; do getty -L ttyS0 115200 vt100; done\n`),
  },
  {
    fault: 'forged: a shell in the initrd',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'in-initrd', cause: /initrd/ },
    breakIt: forged(`${GOOD_WORDS}while :; do setsid cttyhack sh -i; done\n`),
  },
  {
    fault: 'forged: a shell in the initrd whose programs lie',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'in-initrd', cause: /initrd/ },
    breakIt: forged(`${ACCOUNTS}${MOUNT_ROOT}${GOOD_WORDS}
for name in cat readlink stat df; do
  rm /bin/$name
  printf '#!/bin/sh\\nbusybox %s "$@" | sed "s/ rootfs rootfs / ext4 \\\\/dev\\\\/vda3 /; s/^rootfs/ext2\\\\/ext3/; s/^0:2:2$/254:3:2/"\\n' $name > /bin/$name
  chmod 755 /bin/$name
done
while :; do getty -L ttyS0 115200 vt100; done
`),
  },
  {
    fault: 'forged: the root only as a chroot of the initrd',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'foreign-init', cause: /process 1/ },
    breakIt: forged(`${MOUNT_ROOT}${GOOD_WORDS}
for each in proc sys dev; do mkdir -p /new/$each; mount --bind /$each /new/$each; done
while :; do chroot /new ${SHELL}; done
`),
  },
  {
    fault: 'forged: the root in a chroot with its own processes',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'foreign-init', cause: /process 1/ },
    breakIt: forged(`${MOUNT_ROOT}${GOOD_WORDS}
for each in sys dev; do mkdir -p /new/$each; mount --bind /$each /new/$each; done
mkdir -p /new/proc
while :; do unshare --pid --fork chroot /new $programs/sh -c "
  $programs/mount -t proc proc /proc; while :; do ${SHELL}; done"; done
`),
  },
  {
    fault: 'forged: the root in a chroot with a /proc of regular files',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'no-shell', cause: /garbled/ },
    breakIt: forged(`${MOUNT_ROOT}${GOOD_WORDS}
for each in sys dev; do mkdir -p /new/$each; mount --bind /$each /new/$each; done
mkdir -p /new/proc; mount -t tmpfs tmpfs /new/proc; mkdir /new/proc/1 /new/proc/self
echo '24 1 254:3 / / rw,relatime - ext4 /dev/vda3 rw' > /new/proc/self/mountinfo
cp /new/proc/self/mountinfo /new/proc/1/; cp /proc/cmdline /new/proc/
echo '/dev/vda3 / ext4 rw,relatime 0 0' > /new/proc/mounts
ln -s $programs/busybox /new/proc/1/exe; ln -s / /new/proc/1/root
while :; do chroot /new ${SHELL}; done
`),
  },
  {
    fault: 'forged: a root in memory, copied from the initrd',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'in-initrd', cause: /tmpfs/ },
    breakIt: forged(`${ACCOUNTS}${GOOD_WORDS}mkdir /disk; mount -t tmpfs tmpfs /disk
${copyTo('/disk')}${SWITCH}`),
  },
  {
    fault: 'forged: a root in a file of the initrd, with the disk present',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'foreign-root', cause: /loop/ },
    breakIt: forged(`${ACCOUNTS}${MOUNT_ROOT}${GOOD_WORDS}
dd if=/dev/vda3 of=/dev/null bs=1M count=32 2> /dev/null
dd if=/dev/zero of=/file bs=1M count=8 2> /dev/null; mke2fs -F /file > /dev/null
mkdir /disk; losetup /dev/loop0 /file; mount -t ext4 /dev/loop0 /disk
${copyTo('/disk')}mount --move /new /disk/mnt
${SWITCH}`),
  },
  {
    fault: 'forged: a root overlaid on the initrd’s files, with the disk present',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'stage 1', name: 'foreign-root', cause: /overlay/ },
    breakIt: forged(`${ACCOUNTS}${MOUNT_ROOT}${GOOD_WORDS}
dd if=/dev/vda3 of=/dev/null bs=1M count=32 2> /dev/null
mkdir /layers /disk; mount -t tmpfs tmpfs /layers; mkdir /layers/lower /layers/upper /layers/work
${copyTo('/layers/lower')}
mount -t overlay -o lowerdir=/layers/lower,upperdir=/layers/upper,workdir=/layers/work overlay /disk
mount --move /new /disk/mnt
${SWITCH}`),
  },
  {
    fault: 'forged: answers without a shell',
    slow: true,
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'no-shell', cause: /no shell/ },
    breakIt: forged(`${GOOD_WORDS}stty -echo
printf 'tiny login: '
while IFS= read -r line; do
  case $line in
    '') printf '\\ntiny login: ' ;;
    root) printf '\\n# ' ;;
    *) printf '%s\\n' "$line"; printf '%s\\n' "$line" | tr -d "\\"'\\\\"; printf 'root\\n0\\n# ' ;;
  esac
done
`),
  },
];
