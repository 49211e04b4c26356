/** The stages of a boot, recognized from the console's lines: a table has what each stage prints first. */

export const BOOT_STAGES = ['firmware', 'loader', 'kernel', 'stage 1', 'stage 2', 'init', 'login'] as const;
export type BootStage = (typeof BOOT_STAGES)[number];

/** Returns whether one stage comes before another; undefined comes before every stage. */
export function isBefore(stage: BootStage | undefined, other: BootStage): boolean {
  return stage === undefined || BOOT_STAGES.indexOf(stage) < BOOT_STAGES.indexOf(other);
}

interface StageMark {
  readonly stage: BootStage;
  /** Matches one line. */
  readonly shows: RegExp;
  readonly source: string;
}

/** The level and the time at the start of a kernel line. @see printk.time */
export const KERNEL_PREFIX = String.raw`(?:<\d+>)?\[ {0,6}\d{1,7}\.\d{6}\](?:\[[^\]]{1,12}\])? `;

const OF_KERNEL = `^(?:${KERNEL_PREFIX})?`;

/** "login" has no mark: a prompt counts only if it reappears after Enter. */
const MARKS: readonly StageMark[] = [
  {
    stage: 'firmware',
    shows: /SeaBIOS \(version|iPXE \(|UEFI firmware \(version|BdsDxe: /,
    source: 'SeaBIOS src/sercon.c; edk2 BdsDxe',
  },
  {
    stage: 'loader',
    shows:
      /Booting from (?:Hard Disk|Floppy|DVD)|GRUB loading|Welcome to GRUB|GNU GRUB|BdsDxe: starting Boot|systemd-boot|(?:SYS|EXT|ISO|PXE)LINUX \d|^limine|rEFInd|EFI stub: /,
    source: 'SeaBIOS src/boot.c; GRUB; edk2; systemd; SYSLINUX; Limine; Linux drivers/firmware/efi/libstub',
  },
  {
    stage: 'kernel',
    shows: new RegExp(
      `${OF_KERNEL}Linux version \\d|^Decompressing Linux|^(?:<\\d+>)?\\[ {0,6}\\d{1,7}\\.\\d{6}\\](?:\\[[^\\]]{1,12}\\])? \\S`,
    ),
    source: 'Linux init/main.c, arch/x86/boot/compressed/misc.c; any line with its time',
  },
  {
    stage: 'stage 1',
    shows: new RegExp(
      `<<< .*Stage 1 >>>|${OF_KERNEL}Run /init as init process|Running in (?:initrd|initial RAM disk)\\.|^Booting initrd of |^Welcome to .*(?:initrd|initramfs|dracut).*!|^Alpine Init |^Begin: Loading essential drivers|^Loading, please wait|^:: running (?:early )?hook|^dracut: `,
      'i',
    ),
    source:
      'NixOS stage-1-init.sh; Linux init/main.c; systemd src/core/main.c; initramfs-tools init; mkinitcpio; dracut',
  },
  {
    stage: 'stage 2',
    shows:
      /<<< .*Stage 2 >>>|booting system configuration|initrd-switch-root|Switch(?:ing)? root|^Begin: Running \/scripts\/init-bottom/i,
    source: 'NixOS stage-2-init.sh; systemd; initramfs-tools',
  },
  {
    stage: 'init',
    shows: new RegExp(
      [
        'starting (?:systemd|busybox init)\\.\\.\\.',
        '^Starting init:',
        `${OF_KERNEL}Run /(?!init as)\\S+ as init process`,
        '^Welcome to (?!GRUB)(?!.*(?:initrd|initramfs|dracut)).*!$',
        '^INIT: version \\S+ booting',
        '^init started: BusyBox',
        'OpenRC \\S+ is starting up',
        '^- runit: .*(?:booting|enter(?:ing)? stage)',
        'init created by s6-linux-init',
        '^Finit ',
        '^dinit: ',
        'procd: - (?:early|init)',
      ].join('|'),
      'i',
    ),
    source:
      'NixOS stage-2-init.sh; Linux init/main.c; systemd src/core/main.c; sysvinit; busybox init; OpenRC; runit; s6; finit; dinit; procd',
  },
];

/** systemd prints the same line when it starts in the initrd and on the root filesystem; in the initrd, a later
 *  line says so.
 *  @see systemd src/core/main.c, log_full "running in system mode", "Running in initrd." */
const SYSTEMD_STARTS = /systemd\[1\]: systemd \d.* running in system mode/;
const SYSTEMD_GOES_ON = /systemd\[1\]: (?!systemd \d|Detected |Running in initrd)/;

/** A stage, and when the boot reached it. */
export interface StageSeen {
  readonly stage: BootStage;
  /** Milliseconds since the start of the machine. */
  readonly atMs: number;
}

/** Collects the stages in a stream of console lines, each once. Stages only advance: a silent loader, for example, is skipped when
 *  the kernel prints its first line. */
export class StageTracker {
  readonly seen: StageSeen[] = [];
  #systemdStarted = false;
  readonly #onStage: (seen: StageSeen) => void;

  constructor(onStage: (seen: StageSeen) => void = () => {}) {
    this.#onStage = onStage;
  }

  get reached(): BootStage | undefined {
    return this.seen.at(-1)?.stage;
  }

  /** When a stage was first seen; undefined if it was not. */
  at(stage: BootStage): number | undefined {
    return this.seen.find((one) => one.stage === stage)?.atMs;
  }

  /** Records a stage that was detected in another way, such as a login that succeeded. */
  note(stage: BootStage, atMs: number): void {
    const last = this.reached;
    if (last !== undefined && BOOT_STAGES.indexOf(stage) <= BOOT_STAGES.indexOf(last)) return;
    const seen = { stage, atMs };
    this.seen.push(seen);
    this.#onStage(seen);
  }

  /** Forgets all stages, after a restart of the machine. */
  restart(): void {
    this.seen.length = 0;
    this.#systemdStarted = false;
  }

  /** Processes a line, or the beginning of one. */
  line(line: string, atMs: number, finished = true): void {
    for (const { stage, shows } of MARKS) {
      // A later stage may quote an earlier one.
      if (isBefore(this.reached, stage) && shows.test(line)) this.note(stage, atMs);
    }
    if (SYSTEMD_STARTS.test(line)) this.#systemdStarted = true;
    else if (/Running in (?:initrd|initial RAM disk)\./.test(line)) this.#systemdStarted = false;
    else if (this.#systemdStarted && finished && SYSTEMD_GOES_ON.test(line)) this.note('init', atMs);
  }
}
