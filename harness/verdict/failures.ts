import { type BootStage, isBefore, KERNEL_PREFIX } from './stages.ts';

/** The programs that print to the console. `last` is the last stage in which a program still prints: in a later stage, a line that
 *  looks like its own is quoted by another program. */
const SPEAKERS = {
  bios: { source: 'SeaBIOS src/boot.c', last: 'loader' },
  uefi: { source: 'edk2', last: 'loader' },
  loader: { source: 'the boot loader', last: 'loader' },
  stub: { source: "the kernel's stub and decompressor", last: 'kernel' },
  kernel: { source: 'Linux', last: 'login' },
  initrd: { source: 'the initrd', last: 'stage 1' },
  activation: { source: "NixOS's stage 2", last: 'stage 2' },
  init: { source: 'the init and its units', last: 'login' },
} as const satisfies Readonly<Record<string, { readonly source: string; readonly last: BootStage }>>;

type Speaker = keyof typeof SPEAKERS;

/** A line on the console that means that something is wrong: one row of the table. */
export interface FailurePattern {
  /** An identifier for programs: "kernel-panic". */
  readonly name: string;
  /** Matches one line; kernel lines are matched without their level and time. A group `device` captures the device that the line is
   *  about. */
  readonly shows: RegExp;
  readonly by: Speaker;
  /** The stage that failed; undefined for the stage that the boot had reached. */
  readonly stage: BootStage | undefined;
  /** `fatal`: the boot has failed, unless the machine continues. `error`: the machine continues, but the verdict is bad.
   *  `warning`: reported, and given as the reason for failures that it explains. */
  readonly severity: 'fatal' | 'error' | 'warning';
  /** The sentence in the report. */
  readonly cause: string;
  /** Failures that this one explains if it was seen before them. */
  readonly explains?: readonly string[];
  /** Failures that explain nothing if this one was seen after them: the boot would not have reached it. */
  readonly refutes?: readonly string[];
  /** Healthy boots print this line too: it is reported only as the reason for another failure. */
  readonly quiet?: boolean;
  /** Matches only an unfinished line: a prompt with the cursor after it. */
  readonly unfinished?: boolean;
  /** Milliseconds within which the machine may still continue by itself. Default: the program prints nothing more. */
  readonly goesOnWithinMs?: number;
  /** A long message continues on the next line. */
  readonly wraps?: boolean;
  /** The line before this one says what happened. */
  readonly withLineBefore?: boolean;
  /** A boot that reaches this stage shows that the line was harmless. */
  readonly harmlessFrom?: BootStage;
  /** Healthy guests print this line when they are emulated on a loaded host. */
  readonly harmlessUnderTcg?: boolean;
  /** The source code that prints the line. */
  readonly source: string;
}

export interface FailureSeen {
  readonly pattern: FailurePattern;
  /** The matching line. */
  readonly line: string;
  readonly atMs: number;
  /** The stage that the boot had reached. */
  readonly reached: BootStage | undefined;
  /** The kernel's name for the block device that the line is about: "vda2". */
  readonly device: string | undefined;
  /** Where the line was shown. */
  readonly on: 'console' | 'screen';
}

const NO_ROOT = ['kernel-panic-no-root', 'stage-1-failed', 'stage-1-shell', 'emergency', 'kernel-panic-init-died'];
const NO_INIT = ['kernel-panic-no-init', ...NO_ROOT];
const STOPS = ['hang', 'machine-reset', 'waits-for-job', 'repeats-itself', 'loader-menu'];

export const FAILURE_PATTERNS: readonly FailurePattern[] = [
  {
    name: 'boot-failed',
    ...{ shows: /^Boot failed: /, by: 'bios', stage: 'firmware', severity: 'warning', quiet: true },
    cause: 'the BIOS could not boot from a disk',
    explains: ['no-bootable-device'],
    source: 'SeaBIOS src/boot.c',
  },
  {
    name: 'no-bootable-device',
    ...{ shows: /^No bootable device\b/, by: 'bios', stage: 'firmware', severity: 'fatal' },
    cause: 'the BIOS found no valid boot sector on the disk',
    source: 'SeaBIOS src/boot.c',
  },
  {
    name: 'no-bootable-device',
    // mkfs.vfat writes this program into the boot sector.
    ...{ shows: /^This is not a bootable disk/, by: 'loader', stage: 'loader', severity: 'fatal' },
    cause: "the partition's boot sector holds mkfs.vfat's placeholder, not a boot loader",
    source: 'dosfstools src/mkfs.fat.c',
  },
  {
    name: 'secure-boot-refused',
    shows: /BdsDxe: failed to (?:load|start) .*(?:Access Denied|Security Violation)/,
    ...{ by: 'uefi', stage: 'firmware', severity: 'fatal' },
    cause: 'the firmware refused to start the boot loader: Secure Boot does not trust its signature',
    source: 'edk2 MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c',
  },
  {
    name: 'uefi-shell',
    // The shell runs startup.nsh, if there is one, after five seconds.
    ...{ shows: /UEFI Interactive Shell/, by: 'uefi', stage: 'firmware', severity: 'fatal' },
    goesOnWithinMs: 7000,
    cause: 'the firmware found no EFI boot loader that it could start and opened its shell',
    source: 'edk2 ShellPkg',
  },
  {
    name: 'uefi-shell',
    ...{ shows: /^(?:Shell|FS\d+:\\)> ?$/, by: 'uefi', stage: 'firmware', severity: 'fatal', unfinished: true },
    cause: 'the firmware found no EFI boot loader that it could start and waits in its shell',
    source: 'edk2 ShellPkg',
  },
  {
    name: 'no-boot-option',
    ...{ shows: /BdsDxe: No bootable option or device was found/, by: 'uefi', stage: 'firmware', severity: 'fatal' },
    cause: 'the firmware found no EFI boot loader on the disk',
    source: 'edk2 MdeModulePkg/Universal/BdsDxe',
  },
  {
    // Alone it means little: GRUB continues after a search that found nothing.
    name: 'grub-message',
    ...{
      shows: /error: (?!no suitable video mode).+/,
      by: 'loader',
      stage: 'loader',
      severity: 'warning',
      quiet: true,
    },
    cause: 'GRUB reported an error',
    wraps: true,
    explains: ['grub-rescue', 'grub-prompt', 'grub-error', ...STOPS],
    source: 'GRUB grub-core/kern/err.c',
  },
  {
    name: 'grub-rescue',
    ...{ shows: /grub rescue> ?$/, by: 'loader', stage: 'loader', severity: 'fatal', unfinished: true },
    cause: 'GRUB cannot find its modules and stopped at the rescue prompt',
    source: 'GRUB grub-core/kern/rescue_reader.c',
  },
  {
    name: 'grub-prompt',
    ...{ shows: /(?:^|\s)grub> ?$/, by: 'loader', stage: 'loader', severity: 'fatal', unfinished: true },
    cause: 'GRUB found no usable grub.cfg and stopped at its prompt',
    source: 'GRUB grub-core/normal/main.c',
  },
  {
    name: 'grub-error',
    ...{ shows: /Failed to boot both default and fallback entries/, by: 'loader', stage: 'loader', severity: 'fatal' },
    cause: 'GRUB cannot boot the entry',
    source: 'GRUB grub-core/normal/menu.c',
  },
  {
    name: 'grub-error',
    // GRUB continues by itself after ten seconds of its own clock, which it calibrates within a millisecond: in an emulated machine
    // the ten seconds took 10 to 25 s.
    ...{ shows: /Press any key to continue\.\.\./, by: 'loader', stage: 'loader', severity: 'fatal' },
    goesOnWithinMs: 60_000,
    // If the kernel was loaded but the initrd was not, GRUB then starts the kernel.
    explains: ['kernel-panic-no-root'],
    cause: 'GRUB cannot boot the entry',
    source: 'GRUB grub-core/normal/menu.c, grub_wait_after_message',
  },
  {
    name: 'grub-disk-error',
    shows: /GRUB (?:loading\.*)?(?:Geom|Hard Disk|Read|Floppy) Error|GRUB Error|^(?:Geom|Read|Hard Disk|Floppy) Error/,
    ...{ by: 'loader', stage: 'loader', severity: 'fatal' },
    cause: "GRUB's boot sector cannot read its core image",
    source: 'GRUB grub-core/boot/i386/pc/boot.S, diskboot.S',
  },
  {
    name: 'loader-entry',
    shows:
      /^(?!.*(?:BdsDxe: |EFI\\systemd\\drivers|random seed|ignoring)).*(?:Error (?:preparing|loading|opening|reading|registering|executing)|Failed to (?:open|load|start|execute|prepare|install|read|boot)|Unable to (?:open|load|find))/i,
    ...{ by: 'loader', stage: 'loader', severity: 'fatal' },
    // systemd-boot waits three seconds so that the user can read the message, then shows its menu or returns to the firmware.
    goesOnWithinMs: 5000,
    cause: 'the boot loader cannot start the boot entry',
    source: 'systemd src/boot/boot.c, src/boot/stub.c',
  },
  {
    name: 'efi-stub',
    ...{ shows: /EFI stub: ERROR: /, by: 'stub', stage: 'kernel', severity: 'warning' },
    cause: "the kernel's EFI stub reported an error",
    explains: [...NO_INIT, ...STOPS],
    source: 'Linux drivers/firmware/efi/libstub',
  },
  {
    name: 'syslinux',
    shows:
      /Failed to load (?:COM32 file|ldlinux)|Could not find (?:kernel|ramdisk) image: |No DEFAULT or UI configuration directive found!|^Loading \S+ ?(?:\.\.\.)? ?failed: |^Booting kernel failed: |Invalid or corrupt kernel image|No configuration file found/,
    // The prompt may still time out and boot another entry.
    goesOnWithinMs: 3000,
    ...{ by: 'loader', stage: 'loader', severity: 'fatal' },
    cause: 'SYSLINUX cannot load its configuration, the kernel or the initrd',
    source: 'SYSLINUX core/elflink/load_env32.c, com32/elflink/ldlinux',
  },
  {
    name: 'syslinux-disk-error',
    ...{
      shows:
        /^(?:Boot error|Disk error|Missing (?:OS|operating system)|Multiple active partitions|(?:Operating system load error|Error loading operating system)|Invalid partition table)/,
      by: 'loader',
    },
    ...{ stage: 'loader', severity: 'fatal' },
    cause: "SYSLINUX's boot code cannot find or read its next stage",
    source: 'SYSLINUX core/diskstart.inc, mbr/mbr.S',
  },
  {
    name: 'kernel-halted',
    ...{ shows: /-- System halted/, by: 'stub', stage: 'kernel', severity: 'fatal', withLineBefore: true },
    cause: 'the kernel could not decompress itself',
    source: 'Linux arch/x86/boot/compressed/misc.c',
  },
  {
    name: 'halted',
    ...{ shows: /^reboot: System halted/, by: 'kernel', stage: undefined, severity: 'fatal' },
    cause: 'the guest halted without powering off',
    source: 'Linux kernel/reboot.c',
  },
  {
    name: 'initrd-damaged',
    ...{ shows: /^Initramfs unpacking failed/, by: 'kernel', stage: 'kernel', severity: 'warning' },
    // The kernel also prints this for zeros after the initrd, which unified kernel images have.
    harmlessFrom: 'init',
    cause: 'the initrd is damaged or truncated',
    explains: [...NO_INIT, ...STOPS],
    source: 'Linux init/initramfs.c',
  },
  {
    name: 'kernel-panic-no-root',
    ...{ shows: /^Kernel panic - not syncing: VFS: Unable to mount root fs/, by: 'kernel', stage: 'kernel' },
    severity: 'fatal',
    cause: 'the kernel has no usable initrd and cannot mount the root filesystem by itself',
    source: 'Linux init/do_mounts.c',
  },
  {
    name: 'kernel-panic-no-init',
    shows: /^Kernel panic - not syncing: (?:No working init found|Requested init)/,
    ...{ by: 'kernel', stage: 'stage 1', severity: 'fatal' },
    cause: 'the kernel found no init that it could start',
    source: 'Linux init/main.c',
  },
  {
    name: 'kernel-panic-init-died',
    ...{ shows: /^Kernel panic - not syncing: Attempted to kill init!/, by: 'kernel', stage: undefined },
    severity: 'fatal',
    cause: 'process 1 (init) exited',
    source: 'Linux kernel/exit.c',
  },
  {
    name: 'kernel-panic-memory',
    shows: /^Kernel panic - not syncing: (?:System is deadlocked on memory|Out of memory)/,
    ...{ by: 'kernel', stage: 'kernel', severity: 'fatal' },
    cause: 'the machine has too little memory',
    source: 'Linux mm/oom_kill.c',
  },
  {
    name: 'kernel-panic',
    ...{ shows: /^Kernel panic - not syncing/, by: 'kernel', stage: undefined, severity: 'fatal' },
    cause: 'the kernel panicked',
    source: 'Linux kernel/panic.c',
  },
  {
    name: 'kernel-oops',
    shows:
      /^(?:BUG: (?!soft lockup|workqueue lockup)|Oops: |general protection fault|kernel BUG at |Internal error: |[\w ,-]+: [0-9a-f]{4} \[#\d+\])/,
    ...{ by: 'kernel', stage: undefined, severity: 'error' },
    cause: 'the kernel reported an internal error (oops)',
    explains: ['kernel-panic', 'kernel-panic-init-died', ...STOPS],
    source: 'Linux arch/x86/kernel/dumpstack.c',
  },
  {
    name: 'stall',
    shows:
      /^(?:watchdog: )?(?:BUG: soft lockup|BUG: workqueue lockup|rcu: INFO: .*stall|INFO: task .* blocked for more than)/,
    ...{ by: 'kernel', stage: undefined, severity: 'error', harmlessUnderTcg: true },
    cause: 'a CPU or a task in the guest made no progress',
    source: 'Linux kernel/watchdog.c, kernel/rcu, kernel/hung_task.c',
  },
  {
    name: 'out-of-memory',
    ...{ shows: /^Out of memory: Killed process/, by: 'kernel', stage: undefined },
    severity: 'error',
    cause: 'the machine has too little memory: the kernel killed a process',
    explains: ['kernel-panic-init-died', 'kernel-panic', 'kernel-panic-memory', 'emergency', ...STOPS],
    source: 'Linux mm/oom_kill.c',
  },
  {
    name: 'disk-io-error',
    shows:
      /^(?:blk_update_request: |critical \w+ error, )?(?:I\/O error, dev (?<device>\w+)|Buffer I\/O error on dev(?:ice)? (?<device2>[\w-]+)|(?:[\w/-]+: )?attempt to access beyond end of device)/,
    ...{ by: 'kernel', stage: undefined, severity: 'error' },
    cause: 'the kernel cannot read from or write to the disk',
    explains: [...NO_INIT, 'mount-failed', ...STOPS],
    source: 'Linux block/blk-core.c',
  },
  {
    name: 'gpt-damaged',
    shows: /^(?:GPT: ?(?:Primary|Alternate|Use GNU Parted)|Alternate GPT is invalid|Primary GPT is invalid)/,
    ...{ by: 'kernel', stage: 'kernel', severity: 'warning' },
    cause: 'the kernel found the primary or the backup GPT damaged or misplaced',
    source: 'Linux block/partitions/efi.c',
  },
  {
    name: 'filesystem-not-mountable',
    shows:
      /^(?:EXT4-fs \((?<device>[^)]*)\): (?:VFS: Can't find|bad geometry|(?!Remounting).*(?:corrupted|checksum|invalid|failed))|XFS \((?<device2>[^)]*)\): .*(?:Corruption|[Bb]ad (?:magic|CRC)|SB validate failed|last sector read failed|[Nn]eeds repair)|BTRFS (?:critical|error) \(device (?<device3>[^):]*)[^)]*\):? (?:.*failed|device total_bytes|superblock|.*(?:corrupt|unsupported))|F2FS-fs \((?<device4>[^)]*)\): (?:Can't find|Failed to|Magic Mismatch|Invalid)|SQUASHFS error: |erofs: \(device (?<device5>[^)]*)\): (?:.*[Ff]ailed|cannot find valid)|FAT-fs \((?<device6>[^)]*)\): (?:bogus|Can't find a valid FAT|invalid media)|bcachefs \((?<device7>[^):]*)[^)]*\): (?:.*error|insufficient devices))/,
    // Without a filesystem type, the kernel tries one type after another.
    ...{ by: 'kernel', stage: 'stage 1', severity: 'warning', quiet: true },
    cause: 'a filesystem cannot be mounted',
    explains: [...NO_INIT, 'mount-failed', 'in-initrd', ...STOPS],
    // The kernel has loaded filesystem modules from the initrd.
    refutes: ['initrd-damaged'],
    source:
      'Linux fs/ext4/super.c, fs/xfs, fs/btrfs/disk-io.c, fs/f2fs, fs/squashfs, fs/erofs, fs/fat/inode.c, fs/bcachefs',
  },
  {
    name: 'filesystem-error',
    shows:
      /^(?:EXT4-fs error \(device (?<device>[^)]*)\)|EXT4-fs \((?<device2>[^)]*)\): Remounting filesystem read-only|XFS \((?<device3>[^)]*)\): (?:.*[Cc]orruption|Metadata I\/O Error|.*shutting down filesystem)|BTRFS (?:warning|error) \(device (?<device4>[^):]*)[^)]*\):? .*(?:csum|corrupt|forced readonly))/,
    ...{ by: 'kernel', stage: undefined, severity: 'error' },
    cause: 'the kernel found errors in a filesystem',
    explains: [...NO_INIT, 'mount-failed', 'read-only-root', ...STOPS],
    refutes: ['initrd-damaged'],
    source: 'Linux fs/ext4/super.c, fs/xfs, fs/btrfs',
  },
  {
    name: 'root-device-missing',
    shows: /Gave up waiting for (?:root|suspend).*device|dracut-initqueue.*timeout|No root device specified/,
    ...{ by: 'initrd', stage: 'stage 1', severity: 'warning', quiet: true },
    cause: 'stage 1 did not find the root device',
    explains: [...NO_ROOT, 'in-initrd', ...STOPS],
    source: 'initramfs-tools scripts/local; dracut',
  },
  {
    name: 'root-device-missing',
    shows:
      /Timed out waiting for device |ALERT! +.*does not exist|stage 1: .*was not found|Waiting for root device .*\.\.\.|Failed to mount .* as root file system|VFS: Cannot open root device|Mounting .* on \/root failed: /,
    ...{ by: 'initrd', stage: 'stage 1', severity: 'warning' },
    cause: 'stage 1 did not find the root device',
    explains: [...NO_ROOT, 'in-initrd', ...STOPS],
    source: 'NixOS stage-1-init.sh; systemd; initramfs-tools scripts/local; dracut',
  },
  {
    name: 'init-not-found',
    shows:
      /stage 2 init script \([^)]*\) not found|stage 1: .*(?:init|closure).*(?:not found|not there|is no)|run-init: |Failed to switch root: |Failed to execute \/.*init|No init found\. Try passing init=|Target filesystem doesn't have requested |not found in new root\. Launching emergency/,
    ...{ by: 'initrd', stage: 'stage 1', severity: 'warning' },
    cause: 'the init of the selected system is not on the root filesystem',
    explains: [...NO_INIT, 'in-initrd', ...STOPS],
    source: 'NixOS stage-1-init.sh; klibc run-init; initramfs-tools init; systemd',
  },
  {
    name: 'stage-1-failed',
    ...{ shows: /An error occurred in stage 1 of the boot process/, by: 'initrd', stage: 'stage 1' },
    severity: 'fatal',
    cause: 'stage 1 could not mount the root filesystem or start the system',
    source: 'NixOS stage-1-init.sh',
  },
  {
    name: 'stage-1-shell',
    shows:
      /^\(initramfs\) ?$|^(?:dracut|initqueue|switch_root|pre-\w+|mount):\/# ?$|^Entering emergency mode\.|^:: .*you are being dropped (?:in)?to an? (?:recovery|emergency) shell|^Dropping to debug shell|^(?:Launching )?initramfs emergency recovery shell|^\[rootfs .*\]# ?$/i,
    ...{ by: 'initrd', stage: 'stage 1', severity: 'fatal' },
    cause: 'the initrd gave up and opened a shell',
    source: 'initramfs-tools; dracut; mkinitcpio',
  },
  {
    name: 'activation-failed',
    ...{ shows: /^Activation script snippet '[^']*' failed|^stage 2: .*activat.*failed/, by: 'activation' },
    ...{ stage: 'stage 2', severity: 'error' },
    cause: "a snippet of the system's activation script failed",
    explains: ['kernel-panic-init-died', 'emergency', ...STOPS],
    source: 'NixOS activation-script.nix',
  },
  {
    name: 'no-space',
    ...{ shows: /No space left on device/, by: 'init', stage: 'init', severity: 'warning', quiet: true },
    cause: 'a filesystem in the guest is full',
    explains: ['kernel-panic-init-died', 'emergency', 'init-froze', 'root-full', ...STOPS],
    source: 'errno(3) ENOSPC',
  },
  {
    name: 'read-only',
    ...{ shows: /Read-only file system/, by: 'init', stage: 'init', severity: 'warning', quiet: true },
    cause: 'a filesystem in the guest is read-only',
    explains: ['kernel-panic-init-died', 'emergency', 'init-froze', 'read-only-root', ...STOPS],
    source: 'errno(3) EROFS',
  },
  {
    name: 'init-froze',
    ...{
      shows: /systemd\[1\]: Freezing execution|^\[!!!!!!\].*freez/i,
      by: 'init',
      stage: undefined,
      severity: 'fatal',
    },
    cause: 'systemd hit a fatal error and froze',
    source: 'systemd src/core/crash-handler.c',
  },
  {
    name: 'emergency',
    shows:
      /^You are in (?:emergency|rescue) mode|^Cannot open access to console, the root account is locked|^(?:Give root password|Enter root password|Press Enter) for (?:maintenance|login|system maintenance)|^\([^)]*(?:Control|Ctrl|Strg)(?:-|\+| et )D[^)]*\)|\(Repair filesystem\) \d+ # ?$/,
    ...{ by: 'init', stage: undefined, severity: 'fatal' },
    cause: 'the system entered emergency mode',
    source: 'systemd src/sulogin-shell; util-linux sulogin(8)',
  },
  {
    name: 'mount-failed',
    ...{ shows: /\[FAILED\] Failed to mount /, by: 'init', stage: undefined, severity: 'warning' },
    cause: 'a filesystem cannot be mounted',
    explains: ['emergency', 'waits-for-job', 'hang'],
    source: 'systemd src/core/mount.c',
  },
  {
    name: 'device-timeout',
    ...{ shows: /\[ ?TIME ?\] Timed out waiting for device /, by: 'init', stage: undefined, severity: 'warning' },
    cause: 'a device that systemd waited for did not appear',
    explains: ['emergency', 'waits-for-job', 'hang'],
    source: 'systemd src/core/device.c',
  },
  {
    name: 'failed-unit',
    ...{ shows: /\[FAILED\] Failed to start /, by: 'init', stage: undefined, severity: 'warning' },
    cause: 'a systemd unit failed',
    explains: ['hang'],
    source: 'systemd src/core/job.c',
  },
];

/** The most failures that are kept: a guest may print them endlessly. */
const MAX_FAILURES = 40;

/** CPUs take turns to write to the kernel log: a line may be older than the one before it by this many seconds. */
const CLOCK_SECONDS = 2;

/** The shortest line that an 80-column terminal may have wrapped. */
const WRAPPED_COLUMNS = 70;

/** The longest line in a report, in characters. */
const LONGEST_LINE = 400;

const OF_KERNEL = new RegExp(KERNEL_PREFIX);

/** Collects the failures in a stream of lines: each pattern once, in the order of the table if several match one line. */
export class FailureWatcher {
  readonly seen: FailureSeen[] = [];
  readonly #on: 'console' | 'screen';
  #before = '';
  /** The pattern whose line may continue on the next one. */
  #wrapped: FailurePattern | undefined;
  /** The time stamp of the last kernel line, in seconds; undefined while the kernel prints none. Once it prints them, a line
   *  without one is not the kernel's, and a line with an earlier one is a copy. */
  #kernelTime: number | undefined;

  constructor(on: 'console' | 'screen' = 'console') {
    this.#on = on;
  }

  /** Processes a line, or an unfinished one with the cursor after it.
   *  @param reached the stage that the boot has reached. */
  line(line: string, atMs: number, reached: BootStage | undefined, finished = true): void {
    const stamp = OF_KERNEL.exec(line);
    const time = stamp === null ? undefined : Number(/\d+\.\d+/.exec(stamp[0])?.[0]);
    const isCopy = time !== undefined && time < (this.#kernelTime ?? 0) - CLOCK_SECONDS;
    if (time !== undefined && finished && !isCopy) this.#kernelTime = time;
    const isForeign = stamp === null ? this.#kernelTime !== undefined : isCopy;
    const ofKernel = isForeign ? undefined : stamp === null ? line : line.slice(stamp.index + stamp[0].length);
    const goesOn = finished && line.trim() !== '';
    const wrapped = goesOn ? this.#wrapped : undefined;
    if (goesOn) this.#wrapped = undefined;
    for (const pattern of FAILURE_PATTERNS) {
      if (pattern.unfinished === true && finished) continue;
      // The end of a kernel line distinguishes one panic from another: it must be complete.
      if (pattern.by === 'kernel' && !finished) continue;
      if (reached !== undefined && isBefore(SPEAKERS[pattern.by].last, reached)) continue;
      const text = pattern.by === 'kernel' ? ofKernel : stamp?.index === 0 && pattern.by !== 'init' ? undefined : line;
      if (wrapped === pattern) {
        const last = this.seen.at(-1);
        if (last?.pattern === pattern)
          this.seen.splice(-1, 1, { ...last, line: `${last.line} ${line.trim()}`.slice(0, LONGEST_LINE) });
        continue;
      }
      const match = text === undefined ? null : pattern.shows.exec(text);
      if (match === null || !this.#isNew(pattern)) continue;
      const shown = pattern.withLineBefore === true ? `${this.#before} ${line.trim()}` : (text ?? line);
      this.seen.push({
        ...{ pattern, line: shown.trim().slice(0, LONGEST_LINE), atMs, reached, on: this.#on },
        device: Object.values(match.groups ?? {}).find((device) => device !== undefined),
      });
      if (pattern.wraps === true && finished && line.length >= WRAPPED_COLUMNS) this.#wrapped = pattern;
    }
    if (finished && line.trim() !== '') this.#before = line.trim();
  }

  /** Resets the kernel's clock after a restart of the machine. */
  restart(): void {
    this.#kernelTime = undefined;
  }

  #isNew(pattern: FailurePattern): boolean {
    if (this.seen.length >= MAX_FAILURES && pattern.severity !== 'fatal') return false;
    // A specific pattern for a panic precedes the general one: the panic counts once.
    const isPanic = pattern.name === 'kernel-panic';
    return !this.seen.some(
      (one) => one.pattern === pattern || (isPanic && one.pattern.name.startsWith('kernel-panic')),
    );
  }
}

/** Returns whether the boot has passed the last stage of the program that printed the failure, so that the failure did not end it. */
export function hasGoneOn({ pattern, reached }: FailureSeen, furthest: BootStage | undefined): boolean {
  if (furthest === undefined || !isBefore(reached, furthest)) return false;
  const { last } = SPEAKERS[pattern.by];
  return last === 'login' || isBefore(last, furthest);
}

/** Returns whether the boot has reached the stage from which the failure is harmless. */
export function isHarmless({ pattern }: FailureSeen, furthest: BootStage | undefined): boolean {
  return pattern.harmlessFrom !== undefined && !isBefore(furthest, pattern.harmlessFrom);
}

/** Finds the failure that explains `name` among those that were seen before it. */
export function reasonFor(name: string, seen: readonly FailureSeen[]): FailureSeen | undefined {
  const reasons = seen.filter(
    ({ pattern }, index) =>
      pattern.explains?.includes(name) === true &&
      !seen.slice(index + 1).some((later) => later.pattern.refutes?.includes(pattern.name) === true),
  );
  return reasons.find(({ pattern }) => pattern.quiet !== true) ?? reasons[0];
}
