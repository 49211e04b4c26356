import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ContainerRuntimeClient } from 'testcontainers';
import { z } from 'zod';
import { CleanupStack } from '../../lib/run/cleanup-stack.ts';
import { AbortedError, ToolMissingError } from '../../lib/run/errors.ts';
import type { Executor, RunOptions, RunResult } from '../../lib/run/executor.ts';
import { OutputCollector } from '../../lib/run/output-collector.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { abortSignal, path } from '../../lib/spec/fields.ts';
import { HarnessError } from '../errors.ts';

export interface ContainerExecutorOptions {
  /** An image that has the programs: one made of vm-images/toolbox. Pulled when the engine has none of that name. */
  readonly image: string;
  /** Directories of this host that are the same directories in there, beside the working directory, the one for temporary files and, where
   *  there is one, /nix: where systems, contents and images are. */
  readonly directories?: readonly string[] | undefined;
  /** Programs in it may make namespaces and mounts, which fsType btrfs and f2fs need. Default false. */
  readonly namespaces?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Commands run in a container, as this user, on the same files. Ends with it. */
export interface ContainerExecutor extends Executor, AsyncDisposable {
  readonly seesHostFiles: true;
  /** Ends the container, with all that runs in it. */
  stop(): Promise<void>;
}

const optionsSchema = z.object({
  image: z.string().min(1, 'must not be empty'),
  directories: z.array(path).default([]),
  namespaces: z.boolean().default(false),
  signal: abortSignal.optional(),
});

type Container = Awaited<ReturnType<ContainerRuntimeClient['container']['create']>>;

const NAME = 'containerExecutor';

/** A directory that is not this host's, and that every user may write to. */
const OWN_DIRECTORY = '/dev/shm';

/** Programs ask who they run as. The image's passwd(5) does not have this host's users, and Nix then takes USER, and HOME if it
 *  belongs to whoever runs it: without them, it fails with "cannot figure out user name", "cannot determine user's home directory". */
const ENVIRONMENT = { HOME: `${OWN_DIRECTORY}/home`, USER: 'builder', LOGNAME: 'builder', LC_ALL: 'C.UTF-8' };

/** Reads until this process is gone; then it ends, and the engine removes the container. */
const LIVE = 'mkdir -p -m 700 "$HOME"; exec cat';

/** The engine makes each command the leader of a session, whose number is in a file: $1; the rest is its argv. */
const RUN = 'echo $$ > "$1"; shift; exec "$@"';
const KILL = 'until read -r group < "$1"; do sleep 0.05; done 2> /dev/null; kill -s KILL -- "-$group"';

/** Starts a container in which every step that is given it as `executor` runs its programs: for hosts that have none, and for
 *  the same versions everywhere. It has no network, and ends when this process does, however that ends.
 *  @throws {InvalidOptionsError} before anything is started.
 *  @throws {HarnessError} without a container engine, or without the image.
 *  @see Docker Engine API, "Exec". Talks to: Docker or Podman, as testcontainers finds it (DOCKER_HOST). */
export async function containerExecutor(options: ContainerExecutorOptions): Promise<ContainerExecutor> {
  const { image, signal, namespaces, directories: more } = parseOptions(NAME, optionsSchema, options);
  const client = await engine();
  await requireImage(client, image);
  if (signal?.aborted) throw new AbortedError(NAME, { cause: signal.reason });
  await using stack = new CleanupStack();
  const directories = [process.cwd(), tmpdir(), ...(existsSync('/nix') ? ['/nix'] : []), ...more];
  const container = await client.container
    .create({
      Image: image,
      Cmd: ['sh', '-c', LIVE],
      OpenStdin: true,
      StdinOnce: true,
      User: `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`,
      Env: Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`),
      HostConfig: {
        AutoRemove: true,
        Binds: [...new Set(directories.map((directory) => resolve(directory)))].map(
          (directory) => `${directory}:${directory}`,
        ),
        NetworkMode: 'none',
        ...(namespaces ? { CapAdd: ['SYS_ADMIN'], SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'] } : {}),
      },
    })
    .catch((cause: unknown) => {
      throw new HarnessError(`${NAME}: the container engine cannot make a container of ${image}`, { cause });
    });
  stack.defer(() => remove(container));
  const lifeline = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  await container.start().catch((cause: unknown) => {
    throw new HarnessError(`${NAME}: the container engine cannot start a container of ${image}: ${reason(cause)}`, {
      cause,
    });
  });
  lifeline.resume();
  // Whoever forgets to stop it may still exit.
  (lifeline as { socket?: { unref(): void } }).socket?.unref();
  stack.defer(() => {
    lifeline.end();
  });
  const held = stack.move();
  const stop = (): Promise<void> => held[Symbol.asyncDispose]();
  return {
    name: `the container ${image}`,
    seesHostFiles: true,
    run: (argv, runOptions = {}) => runIn(client, container, image, argv, runOptions),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function engine(): Promise<ContainerRuntimeClient> {
  const { getContainerRuntimeClient } = await import('testcontainers').catch((cause: unknown) => {
    throw new HarnessError(`${NAME}: the package testcontainers is not installed`, {
      cause,
      hint: 'npm install testcontainers',
    });
  });
  return getContainerRuntimeClient().catch((cause: unknown) => {
    throw new HarnessError(`${NAME}: no container engine answers`, {
      cause,
      hint: 'install and start Docker or Podman (apt-get install docker.io), or set DOCKER_HOST to where one listens',
    });
  });
}

async function requireImage(client: ContainerRuntimeClient, image: string): Promise<void> {
  const { ImageName } = await import('testcontainers');
  const name = ImageName.fromString(image);
  if (await client.image.exists(name)) return;
  await client.image.pull(name).catch((cause: unknown) => {
    throw new HarnessError(`${NAME}: there is no image ${image}, and it cannot be pulled: ${reason(cause)}`, {
      cause,
      hint: `make it: docker build --tag ${image} vm-images/toolbox`,
    });
  });
}

async function remove(container: Container): Promise<void> {
  // The engine may be at it already: AutoRemove.
  await container.remove({ force: true }).catch(() => {});
}

async function runIn(
  client: ContainerRuntimeClient,
  container: Container,
  image: string,
  argv: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const [tool] = argv;
  if (tool === undefined) throw new RangeError('run needs a program to run');
  if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
  const startedAt = performance.now();
  const groupFile = `${OWN_DIRECTORY}/${randomUUID()}`;
  const exec = await container.exec({
    Cmd: ['sh', '-c', RUN, 'run', groupFile, ...argv],
    AttachStdin: options.input !== undefined,
    AttachStdout: true,
    AttachStderr: true,
    ...(options.cwd === undefined ? {} : { WorkingDir: options.cwd }),
    ...(options.env === undefined
      ? {}
      : { Env: Object.entries(options.env).map(([name, value]) => `${name}=${value}`) }),
  });
  const stream = await exec.start({ hijack: true, stdin: options.input !== undefined });
  const stdout = new OutputCollector(
    options.discardStdout === true ? () => {} : options.onStdout,
    options.maxOutputBytes,
  );
  const stderr = new OutputCollector(options.onStderr, options.maxOutputBytes);
  client.container.dockerode.modem.demuxStream(stream, writableTo(stdout), writableTo(stderr));
  if (options.input !== undefined) feed(options.input, stream);
  const kill = (): void => {
    killGroup(container, groupFile).catch(() => {});
  };
  options.signal?.addEventListener('abort', kill, { once: true });
  try {
    await finished(stream, { writable: false });
  } finally {
    options.signal?.removeEventListener('abort', kill);
  }
  if (options.signal?.aborted) throw new AbortedError(tool, { cause: options.signal.reason });
  const { ExitCode: exitCode } = await exec.inspect();
  const result: RunResult = {
    argv,
    exitCode: exitCode ?? undefined,
    signal: undefined,
    stdout: stdout.bytes(),
    stderr: stderr.bytes(),
    durationMs: performance.now() - startedAt,
  };
  if (exitCode === 127 && /^run: \d+: (exec: )?.*: not found\s*$/.test(result.stderr.toString('utf8')))
    throw new ToolMissingError('run', tool, { hint: `the image ${image} has no ${tool}` });
  return result;
}

function writableTo(collector: OutputCollector): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      collector.push(chunk);
      done();
    },
  });
}

/** What the command does not read is not told: it may end before. */
function feed(input: NonNullable<RunOptions['input']>, stream: NodeJS.ReadWriteStream): void {
  stream.on('error', () => {});
  if (input instanceof Readable) input.pipe(stream);
  else stream.end(input);
}

async function killGroup(container: Container, groupFile: string): Promise<void> {
  const exec = await container.exec({ Cmd: ['sh', '-c', KILL, 'kill', groupFile] });
  await exec.start({ Detach: true });
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
