import { kernelStamp } from '../../verdict/kernel-clock.ts';
import { StageTracker } from '../../verdict/stages.ts';
import { findDecisive } from '../decisive-line.ts';

export interface ConsoleLine {
  /** From 1, in the report's console. */
  readonly number: number;
  readonly text: string;
  /** Characters at its end that are left out. */
  readonly cutCharacters: number;
  /** Milliseconds of the kernel's clock since its line before, where they are many. */
  readonly pauseMs: number | undefined;
  readonly isDecisive: boolean;
}

/** Lines that are left out. */
interface OmittedLines {
  readonly omitted: number;
}

/** What was printed in one stage. */
export interface ConsoleSection {
  readonly stage: string;
  readonly entries: readonly (ConsoleLine | OmittedLines)[];
}

export interface ConsoleExcerpt {
  readonly sections: readonly ConsoleSection[];
  /** Of all lines. */
  readonly omitted: number;
  readonly decisive: number | undefined;
}

/** How much of a console a page has room for. */
export interface ConsoleRoom {
  readonly lines: number;
  readonly characters: number;
}

const LONGEST_LINE = 2000;
const AROUND_DECISIVE = 40;
const LONG_PAUSE_MS = 1000;

/** A console as a page shows it: by stage, with the line that decided the verdict. Where there is not room for all of it, that line
 *  with those around it and the end are shown. */
export function excerptConsole(
  console: readonly string[],
  decisiveLine: string | undefined,
  room: ConsoleRoom,
): ConsoleExcerpt {
  const decisive = findDecisive(console, decisiveLine);
  const kept = chooseLines(console, decisive, room);
  const sections: { stage: string; entries: (ConsoleLine | OmittedLines)[] }[] = [];
  const tracker = new StageTracker();
  let stampMs: number | undefined;
  let omitted = 0;
  for (const [index, whole] of console.entries()) {
    const text = whole.slice(0, LONGEST_LINE);
    tracker.line(text, 0);
    const stamp = kernelStamp(text);
    const pauseMs = stamp === undefined || stampMs === undefined ? 0 : stamp - stampMs;
    stampMs = stamp ?? stampMs;
    const stage = tracker.reached ?? 'start';
    if (sections.at(-1)?.stage !== stage) sections.push({ stage, entries: [] });
    const entries = sections.at(-1)?.entries ?? [];
    if (!kept.has(index)) {
      const last = entries.at(-1);
      omitted += 1;
      if (last !== undefined && 'omitted' in last) entries[entries.length - 1] = { omitted: last.omitted + 1 };
      else entries.push({ omitted: 1 });
      continue;
    }
    entries.push({
      number: index + 1,
      text,
      cutCharacters: whole.length - text.length,
      pauseMs: pauseMs >= LONG_PAUSE_MS ? pauseMs : undefined,
      isDecisive: index === decisive,
    });
  }
  return { sections, omitted, decisive: decisive === undefined ? undefined : decisive + 1 };
}

function chooseLines(console: readonly string[], decisive: number | undefined, room: ConsoleRoom): ReadonlySet<number> {
  const kept = new Set<number>();
  let characters = 0;
  const keep = (index: number): boolean => {
    const line = console[index];
    if (line === undefined || kept.has(index)) return true;
    characters += Math.min(line.length, LONGEST_LINE);
    if (kept.size >= room.lines || characters > room.characters) return false;
    kept.add(index);
    return true;
  };
  if (decisive !== undefined) {
    keep(decisive);
    for (let distance = 1; distance <= AROUND_DECISIVE; distance += 1)
      if (!keep(decisive - distance) || !keep(decisive + distance)) break;
  }
  for (let index = console.length - 1; index >= 0 && keep(index); index -= 1);
  return kept;
}
