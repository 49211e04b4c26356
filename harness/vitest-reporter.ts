/// <reference types="node" preserve="true" />
import { writeFile } from 'node:fs/promises';
import type { Reporter, TestModule } from 'vitest/node';
import { renderHtml } from './report/html.tsx';

/** A vitest reporter that writes every boot of a test run to one HTML page, also for a run merged from shards:
 *
 *      vitest run --shard=1/2 --reporter=blob
 *      vitest --merge-reports --reporter=default --reporter=nixos-disk-image/harness/vitest-reporter
 *
 *  The page is `boots.html`, or the file in the option `outputFile` or the variable NIXOS_DISK_IMAGE_BOOTS. */
export default class BootReporter implements Reporter {
  readonly #outputFile: string;

  constructor({ outputFile }: { readonly outputFile?: string } = {}) {
    this.#outputFile = outputFile ?? process.env.NIXOS_DISK_IMAGE_BOOTS ?? 'boots.html';
  }

  async onTestRunEnd(modules: readonly TestModule[]): Promise<void> {
    const boots = modules.flatMap((module) =>
      [...module.children.allTests()].flatMap((test) =>
        (test.meta().boots ?? []).map((report) => ({ ...report, title: test.fullName })),
      ),
    );
    if (boots.length === 0) return;
    await writeFile(this.#outputFile, renderHtml(boots));
    console.log(`${boots.length} boots: ${this.#outputFile}`);
  }
}
