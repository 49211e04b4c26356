import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type BootComparison, compareBoot, summarize, type TimedBoot } from '../compare.ts';
import { headline } from '../headline.ts';
import { failingFirst, isAsExpected, type ReportedBoot } from '../reported-boot.ts';
import { counted, firmwareName, seconds } from '../words.ts';
import { Boot, type BootProps, Outcome } from './boot.tsx';
import type { ConsoleRoom } from './console-excerpt.ts';
import { shown } from './shown.ts';

const STYLE = readFileSync(new URL('./style.css', import.meta.url), 'utf8');
const SCRIPT = readFileSync(new URL('./browser.js', import.meta.url), 'utf8');

/** Nothing from elsewhere, and no script or style but these, whatever a guest has printed. */
const POLICY = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  `script-src ${hashOf(SCRIPT)}`,
  'img-src data:',
].join('; ');

/** So many boots are shown whole, the good ones too. */
const MOST_OPEN = 3;

/** What a page holds of consoles altogether: browsers stay quick with it. */
const ROOM: ConsoleRoom = { lines: 20_000, characters: 4_000_000 };
/** Of one boot, as far as that is there. */
const MOST_OF_ONE: ConsoleRoom = { lines: 5000, characters: 1_000_000 };

interface PageProps {
  readonly boots: readonly ReportedBoot[];
  readonly title: string;
  readonly earlier: readonly TimedBoot[] | undefined;
}

export function Page({ boots, title, earlier }: PageProps) {
  const isGood = boots.every(isAsExpected);
  const sentence = shown(headline(boots));
  const all = describe(boots, earlier);
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content={POLICY} />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>{`${sentence} – ${shown(title)}`}</title>
        <style dangerouslySetInnerHTML={{ __html: STYLE }} />
      </head>
      <body>
        <header class={isGood ? 'good' : 'bad'}>
          <div class="bar">
            <span>{shown(title)}</span>
            <button type="button" class="theme" hidden>
              Theme: system
            </button>
          </div>
          <h1>{sentence}</h1>
          <Reason all={all} />
          {earlier !== undefined && <Changes all={all} />}
        </header>
        <main>
          {all.length > 1 && <Overview all={all} />}
          {all.map((one) => (
            <Boot key={one.id} {...one} />
          ))}
        </main>
        <footer>
          Made by <code>nixos-disk-image</code>. This page is one file, and loads nothing.
        </footer>
        <script dangerouslySetInnerHTML={{ __html: SCRIPT }} />
      </body>
    </html>
  );
}

/** What is shown of each boot, those that failed first. */
function describe(boots: readonly ReportedBoot[], earlier: readonly TimedBoot[] | undefined): BootProps[] {
  const isOneImage = boots.every(({ image }) => image === boots[0]?.image);
  const share = Math.max(boots.length, 1);
  const room: ConsoleRoom = {
    lines: Math.min(MOST_OF_ONE.lines, Math.ceil(ROOM.lines / share)),
    characters: Math.min(MOST_OF_ONE.characters, Math.ceil(ROOM.characters / share)),
  };
  return failingFirst(boots).map((boot, index) => {
    const name = boot.title ?? (isOneImage ? capitalized(firmwareName(boot)) : boot.image);
    return {
      boot,
      name,
      label: boots.length === 1 ? shown(name) : `boot ${index + 1}, ${shown(name)}`,
      id: `boot-${index + 1}`,
      prefix: boots.length === 1 ? '' : `boot-${index + 1}-`,
      isOpen: boots.length <= MOST_OPEN || (!isAsExpected(boot) && index < MOST_OPEN),
      room,
      compared: earlier === undefined ? undefined : { comparison: compareBoot(earlier, boot) },
    };
  });
}

/** Why, in a sentence or two, of the first that failed. */
function Reason({ all }: { readonly all: readonly BootProps[] }) {
  const failed = all.find(({ boot }) => !isAsExpected(boot));
  if (failed === undefined) return <p class="reason">{whatHeld(all.map(({ boot }) => boot))}</p>;
  if (failed.boot.failure === undefined) return null;
  const { boot, id, name } = failed;
  return (
    <p class="reason">
      {all.length > 1 && `${shown(name)}: `}
      {shown(boot.failure?.cause.split('\n')[0] ?? '')} <a href={`#${id}`}>Details</a>
    </p>
  );
}

function whatHeld(boots: readonly ReportedBoot[]): string {
  const checks = boots.filter(({ ok }) => ok).flatMap((boot) => boot.checks).length;
  return checks === 0 ? 'Nothing wrong was seen.' : `${counted(checks, 'check')} passed, and nothing wrong was seen.`;
}

/** What got slower or faster, of every boot. */
function Changes({ all }: { readonly all: readonly BootProps[] }) {
  const told = all.filter(
    (one): one is BootProps & { compared: { comparison: BootComparison } } => one.compared?.comparison !== undefined,
  );
  return (
    <div class="changes">
      {told.map(({ id, name, compared: { comparison } }) => (
        <p key={id}>
          {all.length > 1 && `${shown(name)}: `}
          {[summarize(comparison), ...comparison.notes].map(shown).join(' ')}
        </p>
      ))}
    </div>
  );
}

/** Every boot in a line. */
function Overview({ all }: { readonly all: readonly BootProps[] }) {
  return (
    <nav aria-label="Boots">
      <ul class="overview">
        {all.map(({ boot, id, name }) => (
          <li key={id}>
            <Outcome boot={boot} />
            <a href={`#${id}`}>{shown(name)}</a>
            <span class="quiet">{shown(inShort(boot, name))}</span>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function inShort(boot: ReportedBoot, name: string): string {
  const firmware = firmwareName(boot);
  return [
    ...(name === capitalized(firmware) ? [] : [firmware]),
    seconds(boot.durationMs),
    ...(boot.failure === undefined ? [] : [`${boot.failure.stage}: ${boot.failure.name}`]),
  ].join(', ');
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
