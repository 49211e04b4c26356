import { isBefore } from '../../verdict/stages.ts';
import type { BootReport } from '../../verify/boot-report.ts';
import { isAsExpected, type ReportedBoot } from '../reported-boot.ts';
import { stageSpans } from '../stage-spans.ts';
import { seconds } from '../words.ts';

/** Part of a boot, on the axis of the whole. */
interface Bar {
  readonly name: string;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly kind: 'stage' | 'failed' | 'after' | 'kernel' | 'systemd';
}

/** Bars for the stages as the console showed them, and below them what the guest's own clocks say, on the same axis. */
export function Timeline({ boot }: { readonly boot: ReportedBoot }) {
  const endMs = Math.max(boot.durationMs, 1);
  const groups = [
    { name: 'As the console showed it', bars: stageBars(boot) },
    {
      name: `By the kernel’s own clock${runsAhead(boot) ? ', which ran faster than this host’s' : ''}`,
      bars: kernelBars(boot),
    },
    { name: 'By systemd’s own clock', bars: systemdBars(boot) },
  ].filter(({ bars }) => bars.length > 0);
  if (groups.length === 0) return <p class="quiet">No stage was seen.</p>;
  return (
    <table class="timeline">
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">
            <Axis endMs={endMs} />
          </th>
          <th scope="col">Time</th>
        </tr>
      </thead>
      {groups.map(({ name, bars }) => (
        <tbody key={name}>
          {groups.length > 1 && (
            <tr class="group">
              <th colSpan={3} scope="rowgroup">
                {name}
              </th>
            </tr>
          )}
          {bars.map((bar) => (
            <Row key={bar.name} bar={bar} endMs={endMs} />
          ))}
        </tbody>
      ))}
    </table>
  );
}

function Row({ bar, endMs }: { readonly bar: Bar; readonly endMs: number }) {
  // A clock that runs ahead comes further than the axis.
  const percent = (milliseconds: number): string => `${((100 * Math.min(milliseconds, endMs)) / endMs).toFixed(2)}%`;
  const fromMs = Math.min(bar.fromMs, endMs);
  const widthMs = Math.max(Math.min(bar.untilMs, endMs) - fromMs, endMs / 400);
  return (
    <tr>
      <th scope="row">{bar.name}</th>
      <td>
        <svg aria-hidden="true" class={bar.kind}>
          <rect x="0" width="100%" height="100%" class="track" />
          <rect x={percent(fromMs)} width={percent(widthMs)} height="100%" rx="2" />
        </svg>
        <span class="visually-hidden">
          from {seconds(bar.fromMs)} to {seconds(bar.untilMs)}
        </span>
      </td>
      <td class="number">{seconds(bar.untilMs - bar.fromMs)}</td>
    </tr>
  );
}

/** Marks at round numbers of seconds, four or so. */
function Axis({ endMs }: { readonly endMs: number }) {
  const stepMs = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600]
    .map((one) => one * 1000)
    .find((step) => endMs / step <= 5);
  const step = stepMs ?? endMs;
  const ticks = Array.from({ length: Math.floor(endMs / step) + 1 }, (_, index) => index * step);
  return (
    <svg aria-label={`seconds since the machine was started, to ${seconds(endMs)}`} role="img" class="axis">
      {ticks.map((tick) => (
        <text key={tick} x={`${((100 * tick) / endMs).toFixed(2)}%`} y="11" class={tick === 0 ? 'first' : undefined}>
          {tick / 1000} s
        </text>
      ))}
    </svg>
  );
}

function stageBars(boot: ReportedBoot): Bar[] {
  const spans = stageSpans(boot);
  return spans.map(({ stage, fromMs, untilMs }, index) => {
    const isLast = index === spans.length - 1;
    if (isLast && !boot.ok) return { name: stage, fromMs, untilMs, kind: isAsExpected(boot) ? 'stage' : 'failed' };
    if (stage === 'login') return { name: 'login, checks', fromMs, untilMs, kind: 'after' };
    return { name: stage, fromMs, untilMs, kind: 'stage' };
  });
}

function kernelBars({ kernelTimes: times }: BootReport): Bar[] {
  if (times === undefined) return [];
  const untilMs = times.startedAtMs + times.userspaceMs;
  return [{ name: 'kernel', fromMs: times.startedAtMs, untilMs, kind: 'kernel' }];
}

/** Whether that clock had the first program run long after the console showed it. */
function runsAhead({ kernelTimes: times, timeline }: BootReport): boolean {
  const next = timeline.find(({ stage }) => !isBefore(stage, 'stage 1'));
  return times !== undefined && next !== undefined && times.startedAtMs + times.userspaceMs > next.atMs + 1000;
}

/** Laid on the axis from where the kernel's clock began, or its first sign. */
function systemdBars({ systemdTimes: times, kernelTimes, timeline }: BootReport): Bar[] {
  const zeroMs = kernelTimes?.startedAtMs ?? timeline.find(({ stage }) => stage === 'kernel')?.atMs;
  if (times === undefined || zeroMs === undefined) return [];
  const { firmwareMs = 0, loaderMs = 0, kernelMs, initrdMs = 0, userspaceMs = 0 } = times;
  let atMs = Math.max(0, zeroMs - loaderMs - firmwareMs);
  const parts = { firmware: firmwareMs, loader: loaderMs, kernel: kernelMs, initrd: initrdMs, userspace: userspaceMs };
  return Object.entries(parts).flatMap(([name, tookMs]): Bar[] => {
    const fromMs = atMs;
    atMs += tookMs;
    return tookMs === 0 ? [] : [{ name, fromMs, untilMs: atMs, kind: 'systemd' }];
  });
}
