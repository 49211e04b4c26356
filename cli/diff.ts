import { diffImages } from '../lib/diff/diff-images.ts';
import type { Difference } from '../lib/diff/difference.ts';
import { EXIT } from './exit-codes.ts';

/** Paths shown of those that differ in the same field; `--json` has them all. */
const SHOWN = 5;

export async function diffCommand(
  a: string,
  b: string,
  flags: { readonly json?: boolean },
  signal: AbortSignal,
): Promise<number> {
  const differences = await diffImages({ a, b }, { signal });
  if (flags.json === true) process.stdout.write(`${JSON.stringify(differences, undefined, 2)}\n`);
  else {
    for (const line of describe(differences)) process.stdout.write(`${line}\n`);
    process.stdout.write(differences.length === 0 ? 'the same\n' : `${differences.length} differences\n`);
  }
  return differences.length === 0 ? EXIT.good : EXIT.wrong;
}

/** Where by where, field by field: a build at another time differs in the times of every path. */
function* describe(differences: readonly Difference[]): Generator<string> {
  const places = new Map<string, Map<string, Difference[]>>();
  for (const difference of differences) {
    const fields = places.get(difference.where) ?? new Map<string, Difference[]>();
    places.set(difference.where, fields);
    // Positions are told one by one, and differ each.
    const field = /^(block|sector)s? /.test(difference.field ?? '') ? 'bytes' : (difference.field ?? '');
    fields.set(field, [...(fields.get(field) ?? []), difference]);
  }
  for (const [where, fields] of places) {
    yield where;
    for (const [field, group] of fields) {
      for (const { what, field: shown, a = 'nothing', b = 'nothing' } of group.slice(0, SHOWN))
        yield `  ${what}${shown === undefined ? '' : `  ${shown}`}: ${a === b ? 'differs' : `${a} | ${b}`}`;
      if (group.length > SHOWN)
        yield `  … and ${group.length - SHOWN} more that differ${field === '' ? '' : ` in: ${field}`}`;
    }
  }
}
