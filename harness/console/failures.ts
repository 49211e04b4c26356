import type { BootStage } from './stages.ts';

/** What a console shows when a boot has failed for good: one table, each with the stage it belongs to. */
interface FailurePattern {
  readonly name: string;
  readonly shows: RegExp;
  readonly stage: BootStage;
  /** In a sentence, for the report. */
  readonly cause: string;
}

export interface FailureSeen {
  readonly pattern: FailurePattern;
  /** The line that shows it. */
  readonly line: string;
  readonly atMs: number;
}

const FAILURE_PATTERNS: readonly FailurePattern[] = [
  {
    name: 'no bootable device',
    shows: /No bootable device|Boot failed: not a bootable disk/,
    stage: 'firmware',
    cause: 'the BIOS found no boot sector it can start on the disk',
  },
  {
    name: 'UEFI shell',
    shows: /UEFI Interactive Shell|Shell> /,
    stage: 'firmware',
    cause:
      'the firmware found no EFI loader on the disk (no ESP, or no \\EFI\\BOOT\\BOOTX64.EFI) and went to its shell',
  },
  {
    name: 'no boot option',
    shows: /BdsDxe: No bootable option or device was found/,
    stage: 'firmware',
    cause: 'the firmware found no EFI loader on the disk',
  },
  {
    name: 'grub rescue',
    shows: /(?:error: [^\n]*[\s\S]{0,600}?)?grub rescue>/,
    stage: 'loader',
    cause: "GRUB's core image cannot find its modules: the rescue prompt",
  },
  { name: 'grub prompt', shows: /(^|\n)grub> /, stage: 'loader', cause: 'GRUB found no grub.cfg: its prompt' },
  {
    // An error alone is none: GRUB goes on after a search that found nothing. What follows tells.
    name: 'grub error',
    shows:
      /error: (?!no suitable video mode|no such device)[^\n]*(?=[\s\S]{0,600}?(?:Press any key to continue|you need to load the kernel first))/,
    stage: 'loader',
    cause: 'GRUB cannot load the system',
  },
  {
    name: 'loader entry',
    shows:
      /(Error (?:preparing|loading|opening)|Failed to (?:open|load|start|execute)[^\n]*(?:\.efi|image|loader|boot entry))[^\n]*\n/i,
    stage: 'loader',
    cause: 'systemd-boot cannot start the entry',
  },
  {
    name: 'kernel panic: no root',
    shows: /Kernel panic - not syncing: VFS: Unable to mount root fs[^\n]*\n/,
    stage: 'kernel',
    cause: 'the kernel has no initrd it can use and cannot mount a root by itself',
  },
  {
    name: 'kernel panic: no init',
    shows: /Kernel panic - not syncing: No working init found[^\n]*\n/,
    stage: 'stage 1',
    cause: 'the initrd has no init',
  },
  {
    name: 'kernel panic: init died',
    shows: /Kernel panic - not syncing: Attempted to kill init![^\n]*\n/,
    stage: 'stage 1',
    cause: 'process 1 ended',
  },
  { name: 'kernel panic', shows: /Kernel panic - not syncing[^\n]*\n/, stage: 'kernel', cause: 'the kernel panicked' },
  {
    name: 'stage 1 failed',
    shows:
      /An error occurred in stage 1 of the boot process[^\n]*|Timed out waiting for device[^\n]*, trying to mount anyway|stage 1: [^\n]*(?:not found|cannot)[^\n]*\n/,
    stage: 'stage 1',
    cause: 'stage 1 could not mount the root filesystem',
  },
  {
    name: 'emergency',
    shows:
      /You are in emergency mode[^\n]*|Cannot open access to console, the root account is locked[^\n]*|Give root password for maintenance/,
    stage: 'init',
    cause: 'the system went into emergency mode',
  },
];

const OVERLAP = 1000;

/** Follows the console's text and reports the first failure it shows. */
export class FailureWatcher {
  #tail = '';
  seen: FailureSeen | undefined;

  feed(text: string, atMs: number): FailureSeen | undefined {
    if (this.seen !== undefined) return undefined;
    const window = this.#tail + text;
    for (const pattern of FAILURE_PATTERNS) {
      const match = pattern.shows.exec(window);
      if (match === null) continue;
      this.seen = { pattern, line: match[0].trim().replace(/\s*\n\s*/g, ' '), atMs };
      return this.seen;
    }
    this.#tail = window.slice(-OVERLAP);
    return undefined;
  }
}
