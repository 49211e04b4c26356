/** How far a boot has come, told from the serial console. One table: what each stage shows first. */

export const BOOT_STAGES = ['firmware', 'loader', 'kernel', 'stage 1', 'stage 2', 'init', 'login'] as const;
export type BootStage = (typeof BOOT_STAGES)[number];

/** Whether one stage comes before another; none at all comes before each. */
export function isBefore(stage: BootStage | undefined, other: BootStage): boolean {
  return stage === undefined || BOOT_STAGES.indexOf(stage) < BOOT_STAGES.indexOf(other);
}

interface StageMark {
  readonly stage: BootStage;
  readonly shows: RegExp;
  readonly source: string;
}

const MARKS: readonly StageMark[] = [
  {
    stage: 'firmware',
    shows: /SeaBIOS \(version|iPXE \(|UEFI firmware \(version|BdsDxe: /,
    source: 'SeaBIOS sercon; OVMF BdsDxe',
  },
  {
    stage: 'loader',
    shows: /Booting from Hard Disk|GRUB loading|Welcome to GRUB|GNU GRUB|BdsDxe: starting Boot|systemd-boot|EFI stub: /,
    source: 'SeaBIOS boot.c; GRUB; OVMF',
  },
  { stage: 'kernel', shows: /Linux version \d|Decompressing Linux/, source: 'Linux init/main.c' },
  {
    stage: 'stage 1',
    shows:
      /<<< .*Stage 1 >>>|Run \/init as init process|systemd\[1\]: Running in initrd|Running in initrd|Welcome to .*\(Initramfs\)/,
    source: 'NixOS stage-1-init.sh; Linux init/main.c; systemd',
  },
  {
    stage: 'stage 2',
    shows: /<<< .*Stage 2 >>>|booting system configuration|initrd-switch-root|Switching root/i,
    source: 'NixOS stage-2-init.sh; systemd',
  },
  {
    stage: 'init',
    shows:
      /starting (?:systemd|busybox init)\.\.\.|systemd\[1\]: systemd \d|systemd \d+(\.\S+)? running in system mode|Welcome to (?!GRUB)[^\n]*!|Starting init:/,
    source: 'NixOS stage-2-init.sh; systemd; busybox init',
  },
  { stage: 'login', shows: /(^|\n)[^\n]*\blogin: ?$|\blogin: /, source: 'agetty(8), login(1)' },
];

/** A stage and when its first sign was seen. */
export interface StageSeen {
  readonly stage: BootStage;
  /** Milliseconds since the machine was started. */
  readonly atMs: number;
}

const OVERLAP = 400;

const KERNEL_LINE = /\[ {0,6}\d{1,7}\.\d{6}\] [^\n]*\n/g;

/** Follows the console's text and notes each stage once. Stages only go forward: a later one seen first closes the
 *  earlier ones, which a silent loader never shows. */
export class StageTracker {
  readonly seen: StageSeen[] = [];
  #tail = '';
  readonly #onStage: (seen: StageSeen) => void;

  constructor(onStage: (seen: StageSeen) => void = () => {}) {
    this.#onStage = onStage;
  }

  get reached(): BootStage | undefined {
    return this.seen.at(-1)?.stage;
  }

  /** Notes a stage that is known otherwise, such as a login that succeeded. */
  note(stage: BootStage, atMs: number): void {
    const last = this.reached;
    if (last !== undefined && BOOT_STAGES.indexOf(stage) <= BOOT_STAGES.indexOf(last)) return;
    const seen = { stage, atMs };
    this.seen.push(seen);
    this.#onStage(seen);
  }

  /** The machine starts again. */
  restart(): void {
    this.seen.length = 0;
    this.#tail = '';
  }

  feed(text: string, atMs: number): void {
    const window = this.#tail + text;
    // A kernel's line may stand in the middle of a prompt, which then goes on behind it.
    const unbroken = window.replace(KERNEL_LINE, '');
    for (const mark of MARKS) {
      // The prompt's word also stands in a loader's or a kernel's text: it counts once something has started.
      if (mark.stage === 'login' && this.reached === undefined) continue;
      if (mark.shows.test(window) || (mark.stage === 'login' && mark.shows.test(unbroken))) this.note(mark.stage, atMs);
    }
    this.#tail = window.slice(-OVERLAP);
  }
}
