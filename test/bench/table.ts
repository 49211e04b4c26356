const rows: string[] = [];
export function report(what: string, value: string, aim: string): void {
  rows.push(`${what.padEnd(64)} ${value.padStart(12)}   ${aim}`);
  process.stdout.write(`${rows.at(-1)}\n`);
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

/** Prints the peak memory of a process in KiB. */
export const MEASURE = `import { readFileSync } from 'node:fs';
process.on('exit', () => console.error('VmHWM ' + /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]));
`;
