import { Fragment } from 'preact';
import type { BootReport, CheckReport } from '../../verify/boot-report.ts';
import type { BootComparison } from '../compare.ts';
import { isAsExpected, outcomeWord, type ReportedBoot } from '../reported-boot.ts';
import { counted, firmwareName, seconds, times } from '../words.ts';
import { Comparison } from './comparison.tsx';
import { Console } from './console.tsx';
import { type ConsoleExcerpt, type ConsoleRoom, excerptConsole } from './console-excerpt.ts';
import { Screen } from './screen.tsx';
import { shown } from './shown.ts';
import { Timeline } from './timeline.tsx';

export interface BootProps {
  readonly boot: ReportedBoot;
  readonly name: string;
  /** The name where it stands alone: no two boots of a page have the same. */
  readonly label: string;
  readonly id: string;
  /** What stands before the anchor of each line of its console. */
  readonly prefix: string;
  readonly isOpen: boolean;
  readonly room: ConsoleRoom;
  /** Undefined: nothing was to be compared. */
  readonly compared: { readonly comparison: BootComparison | undefined } | undefined;
}

/** All that is known of one boot. */
export function Boot({ boot, name, label, id, prefix, isOpen, room, compared }: BootProps) {
  const excerpt = excerptConsole(boot.console, boot.failure?.line, room);
  const failedInChecks = boot.failure?.stage === 'checks';
  return (
    <section id={id} class="boot" aria-label={label}>
      <details open={isOpen}>
        <summary>
          <h2>{shown(name)}</h2>
          <Outcome boot={boot} />
        </summary>
        <Facts boot={boot} name={name} />
        {failedInChecks ? (
          <Checks checks={boot.checks} />
        ) : (
          boot.failure !== undefined && <Failure boot={boot} excerpt={excerpt} prefix={prefix} />
        )}
        {compared !== undefined && (
          <Fragment>
            <h3>Compared with the earlier run</h3>
            <Comparison comparison={compared.comparison} />
          </Fragment>
        )}
        <h3>Timeline</h3>
        <Timeline boot={boot} />
        {boot.checks.length > 0 && !failedInChecks && <Checks checks={boot.checks} />}
        <Notes boot={boot} />
        {boot.typed.length > 0 && <Typed boot={boot} />}
        {boot.screenshot !== undefined && (
          <Fragment>
            <h3>Screen</h3>
            <Screen picture={boot.screenshot} label={label} />
          </Fragment>
        )}
        <Console boot={boot} excerpt={excerpt} prefix={prefix} label={label} />
        <details class="argv">
          <summary>QEMU’s command line</summary>
          <p>
            <code>{shown(boot.qemuArgv.join(' '))}</code>
          </p>
        </details>
      </details>
    </section>
  );
}

export function Outcome({ boot }: { readonly boot: ReportedBoot }) {
  return <span class={`outcome ${isAsExpected(boot) ? 'good' : 'bad'}`}>{outcomeWord(boot)}</span>;
}

function Facts({ boot, name }: { readonly boot: ReportedBoot; readonly name: string }) {
  const login = boot.timeline.find(({ stage }) => stage === 'login');
  const facts = [
    ...(name.toLowerCase() === firmwareName(boot).toLowerCase() ? [] : [firmwareName(boot)]),
    boot.accelerator.toUpperCase(),
    `QEMU ${boot.qemuVersion}`,
    ...(login === undefined ? [] : [`login after ${seconds(login.atMs)}`]),
    `${seconds(boot.durationMs)} altogether`,
    ...(boot.expected === undefined ? [] : [`expected ${boot.expected.outcome}`]),
  ];
  return <p class="facts">{shown(facts.join(' · '))}</p>;
}

interface FailureProps {
  readonly boot: ReportedBoot;
  readonly excerpt: ConsoleExcerpt;
  readonly prefix: string;
}

/** Lines before and behind the one that decided. */
const CONTEXT_LINES = 2;

function Failure({ boot, excerpt, prefix }: FailureProps) {
  const { failure } = boot;
  const { decisive } = excerpt;
  const lines = excerpt.sections
    .flatMap(({ entries }) => entries)
    .filter((entry) => 'number' in entry)
    .filter(({ number }) => decisive !== undefined && Math.abs(number - decisive) <= CONTEXT_LINES);
  return (
    <div class={`failure${isAsExpected(boot) ? ' expected' : ''}`}>
      <p>
        <strong>
          {failure?.stage === 'image' ? 'Seen in the image itself' : `Failed in stage “${failure?.stage}”`}
        </strong>{' '}
        <code>{shown(failure?.name ?? '')}</code>
      </p>
      <p class="cause">{shown(failure?.cause ?? '')}</p>
      {decisive !== undefined && (
        <Fragment>
          <div class="lines">
            {lines.map((line) => (
              <p key={line.number} class={line.isDecisive ? 'decisive' : undefined}>
                <span>{shown(line.text)}</span>
              </p>
            ))}
          </div>
          <p>
            <a href={`#${prefix}L${decisive}`}>Line {decisive.toLocaleString('en-US')} of the console</a>
          </p>
        </Fragment>
      )}
    </div>
  );
}

function Checks({ checks }: { readonly checks: readonly CheckReport[] }) {
  const failed = checks.filter(({ ok }) => !ok);
  return (
    <Fragment>
      <h3>
        Checks{' '}
        <span class="count">
          {failed.length === 0
            ? `${counted(checks.length, 'check')} passed`
            : `${failed.length} of ${checks.length} failed`}
        </span>
      </h3>
      <ul class="checks">
        {[...failed, ...checks.filter(({ ok }) => ok)].map(({ name, ok, message, durationMs }, index) => (
          <li key={index} class={ok ? 'good' : 'bad'}>
            <span class="mark">{ok ? 'passed' : 'failed'}</span>
            <div>
              <strong>{shown(name)}</strong> <span class="count">{seconds(durationMs)}</span>
              {message !== undefined && message !== '' && <div class="message">{shown(message)}</div>}
            </div>
          </li>
        ))}
      </ul>
    </Fragment>
  );
}

/** What is worth knowing beside the verdict. */
function Notes({ boot: { warnings, ignored, reboots } }: { readonly boot: BootReport }) {
  if (warnings.length + ignored.length + reboots === 0) return null;
  return (
    <Fragment>
      <h3>Notes</h3>
      <ul class="notes">
        {reboots > 0 && <li>The guest restarted itself {times(reboots)}, which was allowed.</li>}
        {ignored.map(({ code, message }) => (
          <li key={`${code} ${message}`}>
            Ignored <code>{shown(code)}</code>: {shown(message)}
          </li>
        ))}
        {warnings.map((text) => (
          <li key={text}>{shown(text)}</li>
        ))}
      </ul>
    </Fragment>
  );
}

/** Every key, with the line that it was typed at. */
function Typed({ boot }: { readonly boot: BootReport }) {
  return (
    <Fragment>
      <h3>Typed by the verifier</h3>
      <ul class="notes">
        {boot.typed.map(({ keys, line, atMs, why }) => (
          <li key={atMs}>
            <code>{shown(JSON.stringify(keys))}</code> at <code>{shown(line.trim())}</code> after {seconds(atMs)},{' '}
            {shown(why)}
          </li>
        ))}
      </ul>
    </Fragment>
  );
}
