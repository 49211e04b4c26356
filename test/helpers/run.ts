import { expect } from 'vitest';
import { localExecutor } from '../../lib/run/local-executor.ts';

/** Runs a program on this host, which must succeed. @returns its output. */
export async function run(
  argv: readonly string[],
  options: { cwd?: string; input?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const result = await localExecutor.run(argv, options);
  expect(result.exitCode, `${argv.join(' ')}: ${result.stderr.toString('utf8')}`).toBe(0);
  return result.stdout.toString('utf8');
}
