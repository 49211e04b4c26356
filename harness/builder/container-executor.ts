import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ContainerRuntimeClient } from 'testcontainers';
import { z } from 'zod';
import { CleanupStack } from '../../lib/run/cleanup-stack.ts';
import { wordsFor } from '../../lib/run/errno.ts';
import { AbortedError, InvalidOptionsError, ToolMissingError } from '../../lib/run/errors.ts';
import type { Executor, RunOptions, RunResult } from '../../lib/run/executor.ts';
import { OutputCollector } from '../../lib/run/output-collector.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { abortSignal, path } from '../../lib/spec/fields.ts';
import { HarnessError } from '../errors.ts';

export interface ContainerExecutorOptions {
  /** A container image with the programs, such as one built from vm-images/toolbox. Pulled if the engine does not have it. */
  readonly image: string;
  /** Directories of this host to mount at the same paths, for systems, contents and images. The working directory, the directory
   *  for temporary files and /nix, if it exists, are always mounted. */
  readonly directories?: readonly string[] | undefined;
  /** Whether programs may create namespaces and mounts, which btrfs, f2fs, erofs and squashfs need. Default false. */
  readonly namespaces?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An executor that runs commands in a container, as this user and on this host's files. */
export interface ContainerExecutor extends Executor, AsyncDisposable {
  readonly seesHostFiles: true;
  /** Stops the container and everything that runs in it. */
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

/** A directory in the container that every user may write to. */
const OWN_DIRECTORY = '/dev/shm';

/** Programs look up the current user. The image's passwd(5) lacks this host's users. Nix then uses USER, and HOME if it belongs to
 *  the user; without them it fails with "cannot figure out user name" or "cannot determine user's home directory". */
const ENVIRONMENT = { HOME: `${OWN_DIRECTORY}/home`, USER: 'builder', LOGNAME: 'builder', LC_ALL: 'C.UTF-8' };

/** Reads standard input until this process ends; the engine then removes the container. */
const LIVE = 'mkdir -p -m 700 "$HOME"; exec cat';

/** Each command leads its own session. Writes the session's ID to the file $1 and runs the other arguments. */
const RUN = 'echo $$ > "$1"; shift; exec "$@"';
const KILL = 'until read -r group < "$1"; do sleep 0.05; done 2> /dev/null; kill -s KILL -- "-$group"';

/** Starts a container in which steps run their programs if it is passed as their `executor`: for hosts without the programs, or for
 *  the same versions everywhere. The container has no network and ends with this process, however that ends.
 *  @throws {InvalidOptionsError} before anything is started.
 *  @throws {HarnessError} if there is no container engine or the image is not available.
 *  @see Docker Engine API, "Exec". Talks to: Docker or Podman, as testcontainers finds it (DOCKER_HOST). */
export async function containerExecutor(options: ContainerExecutorOptions): Promise<ContainerExecutor> {
  const { image, signal, namespaces, directories: more } = parseOptions(NAME, optionsSchema, options);
  await requireMountable(more);
  const client = await engine();
  await requireImage(client, image);
  if (signal?.aborted) throw new AbortedError(NAME, { cause: signal.reason });
  await using stack = new CleanupStack();
  // Not a working directory that is the root: the container has its own.
  const always = [process.cwd(), tmpdir(), '/nix'].filter((directory) => directory !== '/' && existsSync(directory));
  const directories = [...always, ...more];
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
        // Binds would cut a name at a colon, and make what is missing, as root.
        Mounts: [...new Set(directories.map((directory) => resolve(directory)))].map((directory) => ({
          ...{ Type: 'bind' as const, Source: directory, Target: directory },
        })),
        NetworkMode: 'none',
        ...(namespaces ? { CapAdd: ['SYS_ADMIN'], SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'] } : {}),
      },
    })
    .catch((cause: unknown) => {
      throw new HarnessError(`${NAME}: the container engine cannot create a container from ${image}`, { cause });
    });
  stack.defer(() => remove(container));
  const lifeline = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  await container.start().catch((cause: unknown) => {
    throw new HarnessError(`${NAME}: the container engine cannot start a container from ${image}: ${reason(cause)}`, {
      cause,
    });
  });
  lifeline.resume();
  // This process can exit even if the caller does not stop the container.
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

async function requireMountable(directories: readonly string[]): Promise<void> {
  const problems = await Promise.all(
    directories.map(async (directory, index) => {
      if (resolve(directory) === '/')
        return { path: `directories[${index}]`, message: 'cannot be the root of this host' };
      return access(directory).then(
        () => undefined,
        (error: unknown) => ({ path: `directories[${index}]`, message: `${directory}: ${wordsFor(error)}` }),
      );
    }),
  );
  const issues = problems.filter((problem) => problem !== undefined);
  if (issues.length > 0) throw new InvalidOptionsError(NAME, issues);
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
      hint: 'install and start Docker or Podman (apt-get install docker.io), or set DOCKER_HOST to its socket',
    });
  });
}

async function requireImage(client: ContainerRuntimeClient, image: string): Promise<void> {
  const { ImageName } = await import('testcontainers');
  const name = ImageName.fromString(image);
  if (await client.image.exists(name)) return;
  await client.image.pull(name).catch((cause: unknown) => {
    throw new HarnessError(
      `${NAME}: the container image ${image} does not exist locally and cannot be pulled: ${reason(cause)}`,
      {
        cause,
        hint: `build it: docker build --tag ${image} vm-images/toolbox`,
      },
    );
  });
}

async function remove(container: Container): Promise<void> {
  // The engine may already be removing it, because of AutoRemove.
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
  if (tool === undefined) throw new RangeError('run requires a program');
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

/** Writes the command's input. Ignores write errors, because the command may end without reading all of it. */
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
