import { writeFile } from 'node:fs/promises';
import type { BootReport } from '../../../harness/verify/boot-report.ts';
import type { Fault } from './fault.ts';
import { FAULTS } from './faults.ts';

const HEAD = ['| fault | firmware | stage | name | verdict after | after the last sign |', '|---|---|---|---|---|---|'];

/** Renders the gallery's table in docs/verify.md from the reports of a run. */
export class GalleryTable {
  readonly #rows = new Map<string, string>();

  add({ fault, firmware, stage, name }: Fault, { durationMs, failure }: BootReport): void {
    const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
    const since = failure?.seenAtMs === undefined ? 'at the shutdown' : seconds(durationMs - failure.seenAtMs);
    this.#rows.set(fault, `| ${fault} | ${firmware} | ${stage} | \`${name}\` | ${seconds(durationMs)} | ${since} |`);
  }

  async write(file: string): Promise<void> {
    const rows = FAULTS.flatMap(({ fault }) => this.#rows.get(fault) ?? []);
    await writeFile(file, `${[...HEAD, ...rows].join('\n')}\n`);
  }
}
