import type { BootStage } from './stages.ts';

/** What a console shows when something is wrong: one table, each with the stage it belongs to. */
export interface FailurePattern {
  /** A word for programs: "kernel-panic". */
  readonly name: string;
  readonly shows: RegExp;
  /** Undefined: the one that the boot had reached. */
  readonly stage: BootStage | undefined;
  /** `fatal`: the boot has failed for good. `error`: it goes on, and its verdict is bad. `warning`: worth knowing. */
  readonly severity: 'fatal' | 'error' | 'warning';
  /** In a sentence, for the report. */
  readonly cause: string;
  /** Fatal patterns of which this is the reason, when it was seen before them. */
  readonly explains?: readonly string[];
  /** Emulated machines on a loaded host show it without being at fault. */
  readonly harmlessUnderTcg?: boolean;
  /** Who prints it. */
  readonly source: string;
}

export interface FailureSeen {
  readonly pattern: FailurePattern;
  /** The line that shows it. */
  readonly line: string;
  readonly atMs: number;
  /** Where it was seen. */
  readonly on: 'console' | 'screen';
}

/** A kernel's line, with its time stamp or without, and not in the middle of somebody's sentence. */
const kernel = (text: string): RegExp =>
  // Whole: what stands at its end tells one panic from another.
  new RegExp(`(?:^|\\n)(?:<\\d+>)?(?:\\[[^\\]\\n]{1,20}\\] ?)?${text}[^\\n]*(?=\\n)`);

const NO_ROOT = ['kernel-panic-no-root', 'stage-1-failed', 'stage-1-shell', 'emergency', 'kernel-panic-init-died'];
const NO_INIT = ['kernel-panic-no-init', ...NO_ROOT];

export const FAILURE_PATTERNS: readonly FailurePattern[] = [
  {
    name: 'no-bootable-device',
    shows: /No bootable device|Boot failed: [^\n]*/,
    stage: 'firmware',
    severity: 'fatal',
    cause: 'the BIOS found no boot sector it can start on the disk',
    source: 'SeaBIOS src/boot.c',
  },
  {
    name: 'secure-boot-refused',
    shows: /BdsDxe: failed to (?:load|start) [^\n]*(?:Access Denied|Security Violation)[^\n]*/,
    stage: 'firmware',
    severity: 'fatal',
    cause: 'the firmware refused to start the loader: its signature is not one that Secure Boot trusts',
    source: 'edk2 MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c',
  },
  {
    name: 'uefi-shell',
    shows: /UEFI Interactive Shell|Shell> /,
    stage: 'firmware',
    severity: 'fatal',
    cause: 'the firmware found no EFI loader that starts and went to its shell',
    source: 'edk2 ShellPkg',
  },
  {
    name: 'no-boot-option',
    shows: /BdsDxe: No bootable option or device was found/,
    stage: 'firmware',
    severity: 'fatal',
    cause: 'the firmware found no EFI loader on the disk',
    source: 'edk2 MdeModulePkg/Universal/BdsDxe',
  },
  {
    name: 'grub-rescue',
    shows: /(?:error: [^\n]*[\s\S]{0,600}?)?grub rescue>/,
    stage: 'loader',
    severity: 'fatal',
    cause: "GRUB's core image cannot find its modules: the rescue prompt",
    source: 'GRUB grub-core/kern/rescue_reader.c',
  },
  {
    name: 'grub-prompt',
    shows: /(?:^|\n)grub> /,
    stage: 'loader',
    severity: 'fatal',
    cause: 'GRUB found no grub.cfg: its prompt',
    source: 'GRUB grub-core/normal/main.c',
  },
  {
    // An error alone is none: GRUB goes on after a search that found nothing. What follows tells.
    name: 'grub-error',
    shows:
      /error: (?!no suitable video mode|no such device)[^\n]*(?:\n(?!error|Press|\n)[^\n]+)?(?=[\s\S]{0,600}?(?:Press any key to continue|you need to load the kernel first))/,
    stage: 'loader',
    severity: 'fatal',
    cause: 'GRUB cannot load the system',
    source: 'GRUB grub-core/normal/menu.c',
  },
  {
    name: 'grub-disk-error',
    shows:
      /GRUB (?:Geom|Hard Disk|Read|Floppy|Error)[^\n]{0,40}Error|GRUB Error|(?:^|\n)(?:Geom|Read|Hard Disk|Floppy) Error/,
    stage: 'loader',
    severity: 'fatal',
    cause: "GRUB's boot sector cannot read its core image",
    source: 'GRUB grub-core/boot/i386/pc/boot.S, diskboot.S',
  },
  {
    name: 'grub-decompression',
    shows: /lzma: |Corrupted data|decompression error/,
    stage: 'loader',
    severity: 'error',
    cause: "GRUB's core image is damaged",
    explains: ['machine-reset', 'hang'],
    source: 'GRUB grub-core/boot/i386/pc/lzma_decode.S',
  },
  {
    name: 'loader-entry',
    shows:
      /(?:Error (?:preparing|loading|opening|reading|registering)|Failed to (?:open|load|start|execute)[^\n]*(?:\.efi|image|loader|boot entry|kernel))[^\n]*/i,
    stage: 'loader',
    severity: 'fatal',
    cause: 'systemd-boot cannot start the entry',
    source: 'systemd src/boot/efi/boot.c',
  },
  {
    name: 'efi-stub',
    shows: /EFI stub: ERROR: [^\n]*/,
    stage: 'kernel',
    severity: 'error',
    cause: "the kernel's EFI stub failed",
    explains: [...NO_INIT, 'machine-reset', 'hang'],
    source: 'Linux drivers/firmware/efi/libstub',
  },
  {
    name: 'syslinux',
    shows:
      /Failed to load (?:COM32 file )?ldlinux|Could not find kernel image: [^\n]*|No DEFAULT or UI configuration directive found!/,
    stage: 'loader',
    severity: 'fatal',
    cause: 'SYSLINUX cannot load the system',
    source: 'SYSLINUX core',
  },
  {
    name: 'kernel-halted',
    shows: /(?:^|\n)[^\n]*\n+[^\n]*-- System halted/,
    stage: 'kernel',
    severity: 'fatal',
    cause: 'the kernel image cannot be decompressed',
    source: 'Linux arch/x86/boot/compressed/misc.c',
  },
  {
    name: 'initrd-damaged',
    shows: kernel('Initramfs unpacking failed'),
    stage: 'kernel',
    severity: 'error',
    cause: 'the initrd is damaged or cut off',
    explains: NO_INIT,
    source: 'Linux init/initramfs.c',
  },
  {
    name: 'kernel-panic-no-root',
    shows: kernel('Kernel panic - not syncing: VFS: Unable to mount root fs'),
    stage: 'kernel',
    severity: 'fatal',
    cause: 'the kernel has no initrd it can use and cannot mount a root by itself',
    source: 'Linux init/do_mounts.c',
  },
  {
    name: 'kernel-panic-no-init',
    shows: kernel('Kernel panic - not syncing: (?:No working init found|Requested init)'),
    stage: 'stage 1',
    severity: 'fatal',
    cause: 'there is no init that can be started',
    source: 'Linux init/main.c',
  },
  {
    name: 'kernel-panic-init-died',
    shows: kernel('Kernel panic - not syncing: Attempted to kill init!'),
    stage: undefined,
    severity: 'fatal',
    cause: 'process 1 ended',
    source: 'Linux kernel/exit.c',
  },
  {
    name: 'kernel-panic-memory',
    shows: kernel('Kernel panic - not syncing: (?:System is deadlocked on memory|Out of memory)'),
    stage: 'kernel',
    severity: 'fatal',
    cause: 'the machine has too little memory',
    source: 'Linux mm/oom_kill.c',
  },
  {
    name: 'kernel-panic',
    shows: kernel('Kernel panic - not syncing'),
    stage: undefined,
    severity: 'fatal',
    cause: 'the kernel panicked',
    source: 'Linux kernel/panic.c',
  },
  {
    name: 'kernel-oops',
    shows: kernel('(?:BUG: (?!soft lockup)|Oops: |general protection fault|kernel BUG at |Internal error: )'),
    stage: 'kernel',
    severity: 'error',
    cause: 'the kernel hit a bug of its own',
    source: 'Linux arch/x86/kernel/dumpstack.c',
  },
  {
    name: 'stall',
    shows: kernel(
      '(?:watchdog: )?(?:BUG: soft lockup|rcu: INFO: [^\\n]*stall|INFO: task [^\\n]* blocked for more than)',
    ),
    stage: 'kernel',
    severity: 'error',
    harmlessUnderTcg: true,
    cause: 'a processor or a task of the guest made no progress',
    source: 'Linux kernel/watchdog.c, kernel/rcu, kernel/hung_task.c',
  },
  {
    name: 'out-of-memory',
    shows: kernel('(?:Out of memory: Killed process|[^\\n]*invoked oom-killer)'),
    stage: 'kernel',
    severity: 'error',
    cause: 'the machine has too little memory: a process was killed for it',
    explains: ['kernel-panic-init-died', 'kernel-panic', 'emergency', 'machine-reset'],
    source: 'Linux mm/oom_kill.c',
  },
  {
    name: 'disk-io-error',
    shows: kernel(
      '(?:blk_update_request: )?(?:I/O error, dev |Buffer I/O error on dev |[^\\n]*attempt to access beyond end of device)',
    ),
    stage: 'kernel',
    severity: 'error',
    cause: 'the disk cannot be read where the system is',
    explains: NO_INIT,
    source: 'Linux block/blk-core.c',
  },
  {
    name: 'gpt-damaged',
    shows: kernel('(?:GPT: ?(?:Primary|Alternate|Use GNU Parted)|Alternate GPT is invalid|Primary GPT is invalid)'),
    stage: 'kernel',
    severity: 'warning',
    cause: 'the kernel finds one of the two GPTs damaged or misplaced',
    source: 'Linux block/partitions/efi.c',
  },
  {
    name: 'filesystem-not-mountable',
    shows: kernel(
      "(?:EXT4-fs \\([^)]*\\): (?:VFS: Can't find|bad geometry|[^\\n]*(?:corrupted|checksum|invalid|failed))|XFS \\([^)]*\\): (?:[^\\n]*(?:Corruption|bad magic|SB validate failed))|BTRFS (?:error|critical)|F2FS-fs \\([^)]*\\): (?:Can't find|Failed to))",
    ),
    stage: 'stage 1',
    severity: 'error',
    cause: 'the root filesystem is damaged',
    explains: NO_INIT,
    source: 'Linux fs/ext4/super.c, fs/xfs, fs/btrfs',
  },
  {
    name: 'filesystem-error',
    shows: kernel(
      '(?:EXT4-fs error|XFS \\([^)]*\\): [^\\n]*corruption|BTRFS (?:warning|error)[^\\n]*csum|EXT4-fs \\([^)]*\\): Remounting filesystem read-only)',
    ),
    stage: 'init',
    severity: 'error',
    cause: 'the kernel found errors in a filesystem',
    explains: NO_INIT,
    source: 'Linux fs/ext4/super.c',
  },
  {
    name: 'root-device-missing',
    shows:
      /Timed out waiting for device [^\n]*|Gave up waiting for root file system device[^\n]*|ALERT! +[^\n]*does not exist[^\n]*|stage 1: [^\n]*was not found[^\n]*|dracut-initqueue[^\n]*timeout[^\n]*/,
    stage: 'stage 1',
    severity: 'error',
    cause: 'stage 1 did not find the device of the root filesystem',
    explains: NO_ROOT,
    source: 'NixOS stage-1-init.sh; systemd; initramfs-tools scripts/local; dracut',
  },
  {
    name: 'init-not-found',
    shows:
      /stage 2 init script \([^)]*\) not found|stage 1: [^\n]*(?:init|closure)[^\n]*(?:not found|not there|is no)[^\n]*|run-init: [^\n]*|Failed to switch root: [^\n]*|Failed to execute \/[^\n]*init[^\n]*/,
    stage: 'stage 1',
    severity: 'error',
    cause: 'the system that the loader asked for is not on the root filesystem',
    explains: NO_INIT,
    source: 'NixOS stage-1-init.sh; klibc run-init; systemd',
  },
  {
    name: 'stage-1-failed',
    shows: /An error occurred in stage 1 of the boot process[^\n]*/,
    stage: 'stage 1',
    severity: 'fatal',
    cause: 'stage 1 could not mount the root filesystem and start the system',
    source: 'NixOS stage-1-init.sh',
  },
  {
    name: 'stage-1-shell',
    shows: /(?:^|\n)(?:\(initramfs\) |dracut:\/# |Entering emergency mode\.[^\n]*)/,
    stage: 'stage 1',
    severity: 'fatal',
    cause: 'the initrd gave up and opened a shell',
    source: 'initramfs-tools; dracut',
  },
  {
    name: 'activation-failed',
    shows: /Activation script snippet '[^']*' failed[^\n]*|stage 2: [^\n]*activat[^\n]*failed[^\n]*/,
    stage: 'stage 2',
    severity: 'error',
    cause: "a part of the system's activation script failed",
    explains: ['kernel-panic-init-died', 'emergency'],
    source: 'NixOS activation-script.nix',
  },
  {
    name: 'no-space',
    shows: /[^\n]*No space left on device[^\n]*/,
    stage: 'init',
    severity: 'error',
    cause: 'the disk of the guest is full',
    explains: ['kernel-panic-init-died', 'emergency', 'init-froze'],
    source: 'errno(3) ENOSPC',
  },
  {
    name: 'read-only-root',
    shows: /[^\n]*Read-only file system[^\n]*/,
    stage: 'init',
    severity: 'error',
    cause: 'the root filesystem is mounted read-only',
    explains: ['kernel-panic-init-died', 'emergency', 'init-froze'],
    source: 'errno(3) EROFS',
  },
  {
    name: 'init-froze',
    shows: /systemd\[1\]: Freezing execution[^\n]*|\[!!!!!!\][^\n]*/,
    stage: 'init',
    severity: 'fatal',
    cause: 'systemd gave up',
    source: 'systemd src/core/main.c',
  },
  {
    name: 'emergency',
    shows:
      /You are in (?:emergency|rescue) mode[^\n]*|Cannot open access to console, the root account is locked[^\n]*|Give root password for maintenance/,
    stage: 'init',
    severity: 'fatal',
    cause: 'the system went into emergency mode',
    source: 'systemd src/sulogin-shell; util-linux sulogin(8)',
  },
  {
    name: 'mount-failed',
    shows: /\[FAILED\] Failed to mount [^\n]*/,
    stage: 'init',
    severity: 'error',
    cause: 'a filesystem of the system cannot be mounted',
    explains: ['emergency'],
    source: 'systemd src/core/mount.c',
  },
  {
    name: 'device-timeout',
    shows: /\[ ?TIME ?\] Timed out waiting for device [^\n]*/,
    stage: 'init',
    severity: 'error',
    cause: 'a device that the system waits for does not come',
    explains: ['emergency'],
    source: 'systemd src/core/device.c',
  },
  {
    name: 'failed-unit',
    shows: /\[FAILED\] Failed to start [^\n]*/,
    stage: 'init',
    severity: 'warning',
    cause: 'a systemd unit failed',
    source: 'systemd src/core/job.c',
  },
];

const OVERLAP = 1000;
/** A guest may show the same thing for ever. */
const MOST_SEEN = 40;

/** Follows text and notes what it shows: each pattern once, in the order of the table where several match at once. */
export class FailureWatcher {
  readonly seen: FailureSeen[] = [];
  readonly #on: 'console' | 'screen';
  #tail = '';

  constructor(on: 'console' | 'screen' = 'console') {
    this.#on = on;
  }

  /** The first that ended the boot. */
  get fatal(): FailureSeen | undefined {
    return this.seen.find(({ pattern }) => pattern.severity === 'fatal');
  }

  feed(text: string, atMs: number): void {
    const window = this.#tail + text;
    for (const pattern of FAILURE_PATTERNS) {
      if (this.seen.length >= MOST_SEEN || this.seen.some((seen) => seen.pattern === pattern)) continue;
      // One panic is one: the more special pattern stands before the general one.
      if (pattern.name === 'kernel-panic' && this.seen.some((seen) => seen.pattern.name.startsWith('kernel-panic')))
        continue;
      const match = pattern.shows.exec(window);
      if (match === null) continue;
      this.seen.push({ pattern, line: match[0].trim().replace(/\s*\n\s*/g, ' '), atMs, on: this.#on });
    }
    this.#tail = window.slice(-OVERLAP);
  }
}

/** Why something fatal happened: what was seen before it and explains it, else itself. */
export function reasonFor(fatal: string, seen: readonly FailureSeen[]): FailureSeen | undefined {
  return seen.find(({ pattern }) => pattern.explains?.includes(fatal) === true);
}
