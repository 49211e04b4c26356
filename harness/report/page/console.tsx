import { Fragment } from 'preact';
import { CONSOLE_LINES } from '../../verify/boot-report.ts';
import type { ReportedBoot } from '../reported-boot.ts';
import { counted, seconds } from '../words.ts';
import type { ConsoleExcerpt, ConsoleLine, ConsoleSection } from './console-excerpt.ts';
import { shown } from './shown.ts';

interface ConsoleProps {
  readonly boot: ReportedBoot;
  readonly excerpt: ConsoleExcerpt;
  /** What stands before each line's anchor. */
  readonly prefix: string;
  readonly label: string;
}

export function Console({ boot, excerpt, prefix, label }: ConsoleProps) {
  const { sections, decisive } = excerpt;
  const opened = sections.findIndex(({ entries }) =>
    entries.some((entry) => 'isDecisive' in entry && entry.isDecisive),
  );
  const openIndex = decisive === undefined ? sections.length - 1 : opened;
  return (
    <div class="console">
      <div class="heading">
        <h3>Serial console</h3>
        <form class="search" aria-label={`Search the console of ${label}`} hidden>
          <input type="search" placeholder="Search" aria-label={`Search the console of ${label}`} />
          <output aria-live="polite" />
          <button type="submit">Next</button>
          <button type="button" class="fold">
            Unfold all
          </button>
        </form>
      </div>
      {boot.console.length === 0 ? (
        <p class="quiet">It showed nothing.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard.
        <section class="lines" aria-label={`Serial console of ${label}`} tabIndex={0}>
          {sections.map((section, index) => (
            <Section
              key={section.stage}
              section={section}
              isOpen={index === openIndex}
              next={sections[index + 1]?.stage}
              prefix={prefix}
            />
          ))}
        </section>
      )}
      <p class="quiet">{whereTheRestIs(boot, excerpt)}</p>
    </div>
  );
}

interface SectionProps {
  readonly section: ConsoleSection;
  readonly isOpen: boolean;
  readonly next: string | undefined;
  readonly prefix: string;
}

function Section({ section: { stage, entries }, isOpen, next, prefix }: SectionProps) {
  const lines = entries.reduce((sum, entry) => sum + ('omitted' in entry ? entry.omitted : 1), 0);
  const name = stage === 'start' ? `before the ${next ?? 'first stage'}` : stage;
  return (
    <details open={isOpen}>
      <summary>
        {name} <span class="count">{counted(lines, 'line')}</span>
      </summary>
      {entries.map((entry) =>
        'omitted' in entry ? (
          <p key={`omitted-${entry.omitted}`} class="omitted">
            {counted(entry.omitted, 'line')} left out
          </p>
        ) : (
          <Line key={entry.number} line={entry} prefix={prefix} />
        ),
      )}
    </details>
  );
}

function Line({ line, prefix }: { readonly line: ConsoleLine; readonly prefix: string }) {
  const { number, text, cutCharacters, pauseMs, isDecisive } = line;
  return (
    <p id={`${prefix}L${number}`} class={isDecisive ? 'decisive' : undefined}>
      <a href={`#${prefix}L${number}`} tabIndex={-1}>
        {number}
      </a>
      <span>{shown(text)}</span>
      {cutCharacters > 0 && <em> … {counted(cutCharacters, 'more character')}</em>}
      {pauseMs !== undefined && <em title="time of the kernel’s clock since its line before"> +{seconds(pauseMs)}</em>}
    </p>
  );
}

function whereTheRestIs({ console, logFile }: ReportedBoot, { omitted }: ConsoleExcerpt) {
  const whole =
    logFile === undefined ? (
      <Fragment>
        <code>verify --log FILE</code> keeps the whole console.
      </Fragment>
    ) : (
      <Fragment>
        The whole console is in <code>{shown(logFile)}</code>.
      </Fragment>
    );
  if (omitted > 0)
    return (
      <Fragment>
        {counted(omitted, 'line')} of {console.length.toLocaleString('en-US')} are left out to keep this page small.{' '}
        {whole}
      </Fragment>
    );
  if (console.length >= CONSOLE_LINES)
    return (
      <Fragment>
        A report has the last {CONSOLE_LINES.toLocaleString('en-US')} lines. {whole}
      </Fragment>
    );
  return logFile === undefined ? undefined : whole;
}
