import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

export interface Child {
  readonly process: ChildProcess;
  /** What it printed first. */
  readonly line: string;
  /** Kills it and all in its PID namespace, where it has one, and waits until all of that is gone. */
  kill(): Promise<void>;
}

/** Runs a program of the built package in another process, until it has printed something: `await import(DIST + '…')`.
 *  @param elsewhere in a PID namespace of its own, where ids mean something else, as in a container. */
export async function startChild(script: string, { elsewhere = false } = {}): Promise<Child> {
  const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const [program = '', ...args] = [
    ...(elsewhere ? ['unshare', ...asRoot, '--pid', '--fork', '--kill-child', '--'] : []),
    ...[process.execPath, '--input-type=module', '--eval'],
    `const DIST = ${JSON.stringify(packageFile('dist/'))};\n${script}\nsetInterval(() => {}, 1000);`,
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // Of everything that has its standard output.
  const closed = once(child, 'close');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await closed;
  };
  onTestFinished(kill);
  const [first] = (await Promise.race([once(child.stdout, 'data'), closed])) as [Buffer];
  return { process: child, line: String(first).trim(), kill };
}
