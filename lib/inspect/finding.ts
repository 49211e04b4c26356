import { printable } from '../printable.ts';

/** A problem of an image, or something that its owner should know. */
export interface Finding {
  /** A stable identifier: "no-boot-signature". */
  readonly code: string;
  /** @deprecated Use `code`. */
  readonly name: string;
  /** `fatal`: what it affects cannot boot. `error`: it is wrong, but may boot. `warning`: worth knowing. */
  readonly severity: 'fatal' | 'error' | 'warning';
  /** The firmware that it affects; undefined for both. */
  readonly firmware?: 'bios' | 'efi' | undefined;
  /** The stage of the boot that it affects. */
  readonly stage: 'firmware' | 'loader' | 'kernel' | 'stage 1';
  /** A sentence, with sectors and paths. */
  readonly message: string;
}

const LONGEST_MESSAGE = 1000;

/** Makes a finding. @param message may contain names from the image; control characters in them are escaped. */
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

/** Keeps the first few findings of one kind and counts the others: thousands of partitions may have the same
 *  problem. */
export function fewOf(findings: readonly Finding[], shown = 5): Finding[] {
  const [first] = findings;
  if (first === undefined || findings.length <= shown) return [...findings];
  const more = findings.length - shown;
  return [...findings.slice(0, shown), { ...first, message: `and ${more} more of the same kind (${first.code})` }];
}

/** Applies `fewOf` to each kind, in the order in which the kinds first occur. */
export function fewOfEach(findings: readonly Finding[]): Finding[] {
  const kinds = new Map<string, Finding[]>();
  for (const at of findings) {
    const key = `${at.code} ${at.severity}`;
    kinds.set(key, [...(kinds.get(key) ?? []), at]);
  }
  return [...kinds.values()].flatMap((group) => fewOf(group));
}
