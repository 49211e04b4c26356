import { basename } from 'node:path';
import { BOOT_STAGES } from '../verdict/stages.ts';
import type { BootReport } from '../verify/boot-report.ts';
import { stageSpans } from './stage-spans.ts';
import { firmwareName, seconds } from './words.ts';

/** What a comparison needs of a boot. */
export type TimedBoot = Pick<
  BootReport,
  'image' | 'firmware' | 'architecture' | 'accelerator' | 'timeline' | 'durationMs'
> &
  Partial<Pick<BootReport, 'kernelTimes' | 'systemdTimes'>>;

/** How long something took in two runs; undefined where it was not seen. */
interface TimeChange {
  readonly what: string;
  readonly beforeMs: number | undefined;
  readonly nowMs: number | undefined;
  /** Undefined: the same, as far as two runs can tell. */
  readonly change: 'slower' | 'faster' | undefined;
}

export interface BootComparison {
  readonly changes: readonly TimeChange[];
  /** Why the two runs are not of a kind. */
  readonly notes: readonly string[];
}

/** Two runs of one image on one host differ by less. */
const NOISE_SHARE = 0.2;
const NOISE_MS = 500;

/** What got slower since an earlier run: every stage until the login, and what the guest's own clocks say.
 *  @returns undefined when the earlier run has no boot in this firmware. */
export function compareBoot(earlier: readonly TimedBoot[], now: TimedBoot): BootComparison | undefined {
  const before = earlier.find(
    ({ firmware, architecture }) => firmware === now.firmware && architecture === now.architecture,
  );
  if (before === undefined) return undefined;
  const isOfAKind = before.accelerator === now.accelerator;
  const [timesBefore, timesNow] = [timesOf(before), timesOf(now)];
  const names = [...new Set([...timesNow.keys(), ...timesBefore.keys()])].sort((a, b) => rank(a) - rank(b));
  const changes = names.map((what) => {
    const [beforeMs, nowMs] = [timesBefore.get(what), timesNow.get(what)];
    // The clock of an emulated guest runs as it likes.
    const isTelling = isOfAKind && (isOfConsole(what) || now.accelerator === 'kvm');
    return { what, beforeMs, nowMs, change: isTelling ? changeOf(beforeMs, nowMs) : undefined };
  });
  return {
    changes,
    notes: [
      ...(isOfAKind && isSlowerThroughout(changes)
        ? ['Every longer stage got slower: a busier host shows the same. Run both again before looking for a reason.']
        : []),
      ...(isOfAKind
        ? []
        : [
            `The earlier run used ${before.accelerator.toUpperCase()} and this one ${now.accelerator.toUpperCase()}: their times say nothing of the image.`,
          ]),
      ...(basename(before.image) === basename(now.image) ? [] : [`The earlier run was of ${before.image}.`]),
    ],
  };
}

function isSlowerThroughout(changes: readonly TimeChange[]): boolean {
  const long = changes.filter(({ what, beforeMs = 0 }) => isStage(what) && beforeMs >= NOISE_MS);
  return long.length > 1 && long.every(({ beforeMs = 0, nowMs = 0 }) => nowMs > beforeMs * (1 + NOISE_SHARE));
}

/** What stands out of the stages, in a sentence. */
export function summarize({ changes }: BootComparison): string {
  const told = (change: TimeChange['change']): string =>
    changes
      .filter((one) => one.change === change && isOfConsole(one.what))
      .map(({ what, beforeMs = 0, nowMs = 0 }) => {
        const subject = SUBJECTS[what] ?? what;
        return `${subject} takes ${seconds(nowMs)}, was ${seconds(beforeMs)}`;
      })
      .join('; ');
  const sentences = (['slower', 'faster'] as const).flatMap((change) => {
    const what = told(change);
    return what === '' ? [] : [`${change === 'slower' ? 'Slower' : 'Faster'} than before: ${what}.`];
  });
  return sentences.length > 0
    ? sentences.join(' ')
    : `Nothing got slower or faster by more than ${NOISE_SHARE * 100} % and ${NOISE_MS / 1000} s.`;
}

/** A comparison for a terminal. */
export function renderComparison(boot: TimedBoot, comparison: BootComparison | undefined): string {
  if (comparison === undefined) return `  compared: the earlier run has no boot in ${firmwareName(boot)}`;
  const width = Math.max(...comparison.changes.map(({ what }) => what.length));
  const cell = (milliseconds: number | undefined): string =>
    (milliseconds === undefined ? '–' : seconds(milliseconds)).padStart(8);
  return [
    `  compared  ${summarize(comparison)}`,
    ...comparison.notes.map((note) => `  note  ${note}`),
    ...comparison.changes.map(({ what, beforeMs, nowMs, change = '' }) =>
      `    ${what.padEnd(width)} ${cell(beforeMs)} ${cell(nowMs)}  ${change}`.trimEnd(),
    ),
  ].join('\n');
}

const START = 'until the first sign';
const TOTAL = 'until the login';
const SUBJECTS: Readonly<Record<string, string>> = {
  [START]: 'the way to the first sign',
  [TOTAL]: 'the whole way to the login',
};
const KERNEL = 'kernel, by its own clock';
const SYSTEMD = {
  kernelMs: 'kernel, by systemd’s clock',
  initrdMs: 'initrd, by systemd’s clock',
  userspaceMs: 'userspace, by systemd’s clock',
} as const;

function timesOf(boot: TimedBoot): Map<string, number> {
  const times = new Map<string, number>();
  const spans = stageSpans(boot);
  const [first] = spans;
  if (first !== undefined) times.set(START, first.fromMs);
  for (const [index, { stage, fromMs, untilMs }] of spans.entries()) {
    // Behind the login come the checks, which are not the boot's.
    if (stage === 'login') times.set(TOTAL, fromMs);
    // The last stage of a boot that failed did not end: its time is how long the verifier waited.
    else if (index < spans.length - 1) times.set(stage, untilMs - fromMs);
  }
  if (boot.kernelTimes !== undefined) times.set(KERNEL, boot.kernelTimes.userspaceMs);
  for (const [key, what] of Object.entries(SYSTEMD)) {
    const value = boot.systemdTimes?.[key as keyof typeof SYSTEMD];
    if (value !== undefined) times.set(what, value);
  }
  return times;
}

const isStage = (what: string): boolean => BOOT_STAGES.some((stage) => stage === what);
const isOfConsole = (what: string): boolean => isStage(what) || what === START || what === TOTAL;

const ORDER: readonly string[] = [START, ...BOOT_STAGES, TOTAL, KERNEL, ...Object.values(SYSTEMD)];

function rank(what: string): number {
  return ORDER.indexOf(what);
}

function changeOf(beforeMs: number | undefined, nowMs: number | undefined): TimeChange['change'] {
  if (beforeMs === undefined || nowMs === undefined) return undefined;
  const differenceMs = nowMs - beforeMs;
  if (Math.abs(differenceMs) <= NOISE_MS || Math.abs(differenceMs) <= NOISE_SHARE * beforeMs) return undefined;
  return differenceMs > 0 ? 'slower' : 'faster';
}
