import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { getContainerRuntimeClient } from 'testcontainers';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type ContainerExecutor, containerExecutor } from '../../harness/builder/container-executor.ts';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { AbortedError, ToolMissingError } from '../../lib/run/errors.ts';
import { prepareToolbox } from '../../vm-images/toolbox.ts';

let image: string;
let container: ContainerExecutor;

beforeAll(async () => {
  image = await prepareToolbox('debian-12');
  container = await containerExecutor({ image });
});
afterAll(() => container?.stop());

test('arguments, input, environment and directory arrive unchanged', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-container-'));
  onTestFinished(() => removeTree(directory));
  await writeFile(join(directory, 'a file'), 'of this host\n');
  const echoed = await container.run(['printf', '%s|', '$HOME `x`', "'", '']);
  expect(echoed.stdout.toString()).toBe("$HOME `x`|'||");
  expect((await container.run(['cat', 'a file'], { cwd: directory })).stdout.toString()).toBe('of this host\n');
  expect((await container.run(['printenv', 'WHAT'], { env: { WHAT: 'a b' } })).stdout.toString()).toBe('a b\n');
  const bytes = Buffer.alloc(3_000_000, 'bytes and bytes\n');
  for (const input of [bytes, Readable.from([bytes.subarray(0, 70_000), bytes.subarray(70_000)])])
    expect((await container.run(['cat'], { input })).stdout.equals(bytes)).toBe(true);
  expect((await container.run(['cat'])).stdout.toString()).toBe('');
});

test('output and exit status are returned', async () => {
  const pieces: Buffer[] = [];
  const result = await container.run(['sh', '-c', 'echo out; echo err >&2; exit 7'], {
    onStderr: (chunk) => pieces.push(chunk),
  });
  expect(result).toMatchObject({ exitCode: 7, stdout: Buffer.from('out\n') });
  expect(Buffer.concat(pieces).toString()).toBe('err\n');
  expect((await container.run(['sh', '-c', 'kill -9 $$'])).exitCode).toBe(137);
  await expect(container.run(['mkfs.nothing'])).rejects.toThrow(ToolMissingError);
});

test('files that it creates belong to this user', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-container-'));
  onTestFinished(() => removeTree(directory));
  await container.run(['touch', join(directory, 'made')]);
  await writeFile(join(directory, 'made'), 'ours');
  expect((await container.run(['id', '-u'])).stdout.toString()).toBe(`${process.getuid?.()}\n`);
});

test('there is no network', async () => {
  expect((await container.run(['ls', '/sys/class/net'])).stdout.toString().trim()).toBe('lo');
});

test('an abort kills the command and its child processes, and the container continues', async () => {
  const abort = new AbortController();
  const running = container.run(['sh', '-c', 'echo begun; sleep 1000 | cat'], {
    signal: abort.signal,
    onStdout: () => abort.abort(),
  });
  await expect(running).rejects.toThrow(AbortedError);
  const left = await container.run(['sh', '-c', 'cat /proc/[0-9]*/cmdline']);
  // A zombie has no command line.
  expect(left.stdout.toString()).not.toContain('sleep\0');
});

test('a process that is killed leaves no container', async () => {
  const client = await getContainerRuntimeClient();
  const script = `
    import { containerExecutor } from '${packageFile('dist/harness/index.js')}';
    const container = await containerExecutor({ image: '${image}' });
    process.stdout.write((await container.run(['cat', '/proc/sys/kernel/hostname'])).stdout);
    await container.run(['sleep', '1000']);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [id] = (await once(child.stdout, 'data')) as [Buffer];
  const its = client.container.getById(id.toString().trim());
  const gone = its.wait({ condition: 'removed' });
  child.kill('SIGKILL');
  await gone;
  await expect(its.inspect()).rejects.toThrow(/no such container/i);
});

test('a missing image is named, with the command that builds it', async () => {
  await expect(containerExecutor({ image: 'nixos-disk-image-nowhere:1' })).rejects.toMatchObject({
    message: expect.stringContaining('the container image nixos-disk-image-nowhere:1 does not exist locally'),
    hint: expect.stringContaining('docker build'),
  });
});

test('without a container engine, the command line says so in one sentence, with what to do', async () => {
  const specification = join(await mkdtemp(join(tmpdir(), 'ndi-container-')), 'image.json');
  onTestFinished(() => removeTree(join(specification, '..')));
  await writeFile(specification, JSON.stringify({ toplevel: '/nix/store/x' }));
  // No engine is reachable inside the container.
  await using within = await containerExecutor({
    image,
    directories: [packageFile('.'), process.execPath],
  });
  const result = await within.run([
    ...[process.execPath, packageFile('dist/cli/main.js'), 'build', specification, '--container', image],
    ...['--out', join(specification, '..')],
  ]);
  expect(result.stderr.toString()).toBe(
    `containerExecutor: no container engine answers\n\nHint: install and start Docker or Podman (apt-get install docker.io), or set DOCKER_HOST to its socket\n\nError code: E_HARNESS, described in ${packageFile('docs/errors.md')}#e_harness\n`,
  );
  expect(result.exitCode).toBe(3);
  expect(await readFile(specification, 'utf8')).toContain('toplevel');
});
