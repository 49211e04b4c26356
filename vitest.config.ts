import { defineConfig } from 'vitest/config';

/** Three tiers and the scenarios, each a project: unit (no programs), tool (the real parted, mkfs, nix …), vm (real
 *  boots), scenarios (whole images, booted). */
const project = (name: string, include: string[], timeoutMs: number, maxWorkers: number) => ({
  extends: true as const,
  test: {
    name,
    include,
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    maxWorkers,
    ...(name === 'unit' || name === 'bench' ? {} : { setupFiles: 'test/helpers/declared-programs.ts' }),
  },
});

/** Whole Debians of many kinds, which take minutes to make and to boot, and verdicts that some runs on a loaded host had otherwise:
 *  run where ALL_VERDICTS is set. */
const SLOW = ['test/vm/harness/foreign-debian-*.test.ts', 'test/vm/verdict/{commands,shells}.test.ts'];

export default defineConfig({
  test: {
    environment: 'node',
    retry: 0,
    projects: [
      project('unit', ['test/unit/**/*.test.ts'], 20_000, 2),
      project('tool', ['test/tool/**/*.test.ts'], 120_000, 2),
      // The tool tier again, in containers of other releases.
      {
        extends: true,
        test: {
          ...project('toolchain', ['test/toolchain/**/*.test.ts'], 1_800_000, 1).test,
          globalSetup: 'test/toolchain/engine.ts',
        },
      },
      // Broken machines mostly wait: more of them than there are cores keep the cores at work.
      {
        extends: true,
        test: {
          ...project('vm', ['test/vm/**/*.test.ts'], 900_000, 2).test,
          env: { NIXOS_DISK_IMAGE_MACHINES: '3' },
          exclude: process.env.ALL_VERDICTS === undefined ? SLOW : [],
        },
      },
      project('scenarios', ['scenarios/**/*.scenario.ts'], 1_800_000, 2),
      project('bench', ['test/bench/**/*.bench.ts'], 1_800_000, 1),
    ],
  },
});
