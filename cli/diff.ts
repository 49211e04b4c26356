import { diffImages } from '../lib/diff/diff-images.ts';
import { type Difference, fieldName } from '../lib/diff/difference.ts';
import { printable, printableJson } from '../lib/printable.ts';
import { EXIT } from './exit-codes.ts';

/** Paths shown of those that differ in the same field; `--json` has more. */
const SHOWN = 5;
const MOST_LINES = 1000;

export async function diffCommand(
  a: string,
  b: string,
  flags: { readonly json?: boolean; readonly timeout?: number },
  signal: AbortSignal,
): Promise<number> {
  const timeoutMs = flags.timeout === undefined ? undefined : flags.timeout * 1000;
  const differences = await diffImages({ a, b, timeoutMs }, { signal });
  if (flags.json === true) process.stdout.write(`${printableJson(differences)}\n`);
  else {
    const lines = [...describe(differences)];
    for (const line of lines.slice(0, MOST_LINES)) process.stdout.write(`${printable(line)}\n`);
    if (lines.length > MOST_LINES) process.stdout.write(`… and ${lines.length - MOST_LINES} more lines\n`);
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
    const field = fieldName(difference);
    const group = fields.get(field) ?? [];
    group.push(difference);
    fields.set(field, group);
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
