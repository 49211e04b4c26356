import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

export interface Child {
  readonly process: ChildProcess;
  /** Its first output. */
  readonly line: string;
  /** Kills it, and all processes in its PID namespace if it has one, and waits until they have ended. */
  kill(): Promise<void>;
}

/** Runs a program that uses the built package in another process, until it prints something: `await import(DIST + '…')`.
 *  @param elsewhere whether it runs in its own PID namespace, as in a container. */
export async function startChild(script: string, { elsewhere = false } = {}): Promise<Child> {
  const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const [program = '', ...args] = [
    ...(elsewhere ? ['unshare', ...asRoot, '--pid', '--fork', '--kill-child', '--'] : []),
    ...[process.execPath, '--input-type=module', '--eval'],
    `const DIST = ${JSON.stringify(packageFile('dist/'))};\n${script}\nsetInterval(() => {}, 1000);`,
  ];
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // Waits for every process that has its standard output.
  const closed = once(child, 'close');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await closed;
  };
  onTestFinished(kill);
  const [first] = (await Promise.race([once(child.stdout, 'data'), closed])) as [Buffer];
  return { process: child, line: String(first).trim(), kill };
}
