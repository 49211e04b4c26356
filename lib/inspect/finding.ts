import { printable } from '../printable.ts';

/** Something about an image that a machine would stumble over, or its owner should know. */
export interface Finding {
  /** A word for programs: "no-boot-signature". */
  readonly code: string;
  /** @deprecated Use `code`. */
  readonly name: string;
  /** `fatal`: what it concerns cannot work. `error`: works here, and is wrong. `warning`: worth knowing. */
  readonly severity: 'fatal' | 'error' | 'warning';
  /** The firmware whose way it lies in; undefined for both. */
  readonly firmware?: 'bios' | 'efi' | undefined;
  /** Who stumbles over it. */
  readonly stage: 'firmware' | 'loader' | 'kernel' | 'stage 1';
  /** A sentence, with sectors and paths. */
  readonly message: string;
}

const LONGEST_MESSAGE = 1000;

/** @param message may hold names out of the image: what a terminal would obey in them is escaped. */
export function finding(
  code: string,
  severity: Finding['severity'],
  stage: Finding['stage'],
  message: string,
  firmware: Finding['firmware'],
): Finding {
  const shown = printable(message);
  return {
    ...{ code, name: code, severity, stage },
    ...(firmware === undefined ? {} : { firmware }),
    message: shown.length > LONGEST_MESSAGE ? `${shown.slice(0, LONGEST_MESSAGE)} …` : shown,
  };
}

/** Findings of one kind beyond the first few as one: a table of thousands of partitions is wrong in one way. */
export function fewOf(findings: readonly Finding[], shown = 5): Finding[] {
  const [first] = findings;
  if (first === undefined || findings.length <= shown) return [...findings];
  const more = findings.length - shown;
  return [...findings.slice(0, shown), { ...first, message: `and ${more} more of the same kind (${first.code})` }];
}

/** The same, kind by kind, in the order in which each kind is first met. */
export function fewOfEach(findings: readonly Finding[]): Finding[] {
  const kinds = new Map<string, Finding[]>();
  for (const at of findings) {
    const key = `${at.code} ${at.severity}`;
    kinds.set(key, [...(kinds.get(key) ?? []), at]);
  }
  return [...kinds.values()].flatMap((group) => fewOf(group));
}
