import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pRetry, { AbortError } from 'p-retry';
import { cacheDirectory } from '../../harness/cache-directory.ts';
import { HarnessError } from '../../harness/errors.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';

/** Runs before the toolchain tests: if no container engine is running, starts Docker for the duration of the tests, with its data
 *  in the cache and without access to the host's network configuration. */
export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (await answers([])) return undefined;
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const directory = join(cacheDirectory(), 'engine');
  await mkdir(directory, { recursive: true });
  const host = `unix://${join(directory, 'docker.sock')}`;
  const [pidFile, logFile] = [join(directory, 'dockerd.pid'), join(directory, 'dockerd.log')];
  const [program = '', ...args] = [
    ...[...sudo, 'dockerd', '--host', host, '--group', `${process.getgid?.() ?? 0}`, '--pidfile', pidFile],
    ...['--data-root', join(directory, 'data'), '--exec-root', join(directory, 'run')],
    ...['--iptables=false', '--ip6tables=false', '--bridge=none'],
  ];
  await using log = await open(logFile, 'w');
  const daemon = spawn(program, args, { stdio: ['ignore', log.fd, log.fd] });
  const ended = once(daemon, 'exit');
  let running = true;
  ended.finally(() => {
    running = false;
  });
  const ready = async (): Promise<void> => {
    if (!running) throw new AbortError('it ended');
    if (!(await answers(['--host', host]))) throw new Error('it does not answer');
  };
  await pRetry(ready, { retries: 100, factor: 1.2, minTimeout: 20, maxTimeout: 500 }).catch(async (cause: unknown) => {
    throw new HarnessError('the container engine (dockerd) does not start', {
      cause,
      detail: (await readFile(logFile, 'utf8')).split('\n').slice(-15).join('\n'),
      hint: 'install and start Docker or Podman, or set DOCKER_HOST',
    });
  });
  process.env.DOCKER_HOST = host;
  // No port is mapped; without this, testcontainers would look for a network to reach one.
  process.env.TESTCONTAINERS_HOST_OVERRIDE = 'localhost';
  return async () => {
    await localExecutor.run([...sudo, 'kill', (await readFile(pidFile, 'utf8')).trim()]);
    await ended;
  };
}

async function answers(host: readonly string[]): Promise<boolean> {
  const environment = process.env.DOCKER_HOST === undefined ? {} : { DOCKER_HOST: process.env.DOCKER_HOST };
  const { exitCode } = await localExecutor.run(['docker', ...host, 'version'], { env: environment });
  return exitCode === 0;
}
