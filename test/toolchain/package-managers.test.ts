import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BuiltImage } from '../../lib/build/build-image.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import type { RunResult } from '../../lib/run/executor.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { demoImage } from '../helpers/demo-image.ts';
import { installNode, nodeVersions, type OtherNode } from '../helpers/other-nodes.ts';
import { packPackage } from '../helpers/packed-package.ts';
import { run } from '../helpers/run.ts';

// The packed tarball, installed by each package manager and run by each version of Node that the package takes.

let work: string;
let tarball: string;
let image: BuiltImage;
let nodes: OtherNode[];
let environment: Record<string, string>;

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'ndi-managers-'));
  tarball = await packPackage(work);
  image = await demoImage('tiny-grub-bios', { bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 });
  nodes = [];
  for (const version of await nodeVersions()) nodes.push(await installNode(version, join(work, `node-${version}`)));
  environment = {
    // Spares the probe of KVM.
    NIXOS_DISK_IMAGE_ACCEL: 'tcg',
    // Headers to compile node-pty with, which node-gyp would download.
    npm_config_nodedir: nodes[0]?.directory ?? '',
    ...{ YARN_ENABLE_TELEMETRY: '0', YARN_GLOBAL_FOLDER: join(work, 'yarn'), YARN_CACHE_FOLDER: join(work, 'yarn-1') },
  };
});
afterAll(() => removeTree(work));

/** An empty package. @returns its directory. */
async function consumer(name: string, files: Readonly<Record<string, string>> = {}): Promise<string> {
  const directory = join(work, name);
  await mkdir(directory);
  await writeFile(join(directory, 'package.json'), '{ "name": "consumer", "private": true }');
  for (const [file, text] of Object.entries(files)) await writeFile(join(directory, file), text);
  return directory;
}

/** Installs a package manager from npm's registry. @returns its program's argv. */
async function manager(name: string, program: string): Promise<string[]> {
  const prefix = join(work, name);
  await run(['npm', 'install', '--prefix', prefix, '--no-save', '--prefer-offline', '--loglevel=error', name]);
  return [process.execPath, join(prefix, 'node_modules', program)];
}

function cli(directory: string, { path }: OtherNode, ...args: string[]): Promise<RunResult> {
  const env = { ...environment, PATH: path };
  return localExecutor.run([join(directory, 'node_modules/.bin/nixos-disk-image'), ...args], { env });
}

/** What needs no terminal works with every Node. */
async function works(directory: string): Promise<void> {
  for (const node of nodes) {
    const version = await cli(directory, node, '--version');
    expect(version.stdout.toString('utf8'), version.stderr.toString('utf8')).toMatch(/^\d+\.\d+\.\d+\n$/);
    const inspected = await cli(directory, node, 'inspect', image.image, '--json');
    expect(JSON.parse(inspected.stdout.toString('utf8'))).toMatchObject({ firmware: ['bios'], findings: [] });
  }
}

/** Machines can be started: node-pty was compiled once, and every Node loads it. */
async function hasTerminals(directory: string): Promise<void> {
  for (const node of nodes) {
    const doctor = await cli(directory, node, 'doctor', '--json');
    expect(doctor.exitCode, doctor.stdout.toString('utf8')).toBe(0);
    expect(JSON.parse(doctor.stdout.toString('utf8'))).toMatchObject({ node: node.version, nodePty: { works: true } });
  }
}

/** What a machine's console needs is missing, and both commands say which command brings it. */
async function saysWhatToDo(directory: string, command: string): Promise<void> {
  const [node] = nodes;
  if (node === undefined) throw new Error('no Node');
  const verified = await cli(directory, node, 'verify', image.image);
  expect(verified.exitCode).toBe(3);
  expect(verified.stderr.toString('utf8')).toContain(`Hint: compile it for Node ${node.version}: ${command} (`);
  expect((await cli(directory, node, 'doctor')).stdout.toString('utf8')).toMatch(
    new RegExp(`^MISSING node-pty .*\\n.*: ${command} \\(`, 'm'),
  );
}

test('npm: installed, and an image boots with the newest Node', async () => {
  const directory = await consumer('with-npm');
  await run(['npm', 'install', '--prefer-offline', tarball], { cwd: directory, env: environment });
  await works(directory);
  await hasTerminals(directory);
  const [newest] = nodes.slice(-1);
  if (newest === undefined) throw new Error('no Node');
  const verified = await cli(directory, newest, 'verify', image.image, '--quiet');
  expect(verified.exitCode, verified.stdout.toString('utf8')).toBe(0);
});

test('npm without scripts', async () => {
  const directory = await consumer('without-scripts');
  await run(['npm', 'install', '--prefer-offline', '--ignore-scripts', tarball], { cwd: directory });
  await works(directory);
  const command = 'npm rebuild node-pty --ignore-scripts=false';
  await saysWhatToDo(directory, command);
  await run(command.split(' '), { cwd: directory, env: environment });
  await hasTerminals(directory);
});

test('npx runs the tarball', async () => {
  const env = { ...environment, npm_config_cache: join(work, 'npx') };
  const argv = ['npx', '--yes', `--package=${tarball}`, 'nixos-disk-image', 'inspect', image.image];
  expect(await run(argv, { cwd: work, env })).toContain('GRUB');
});

test('pnpm, which runs no scripts that nobody approved', async () => {
  const directory = await consumer('with-pnpm');
  const pnpm = [...(await manager('pnpm@12', 'pnpm/bin/pnpm.mjs')), '--store-dir', join(work, 'pnpm-store')];
  const added = await localExecutor.run([...pnpm, 'add', tarball], { cwd: directory, env: environment });
  expect(`${added.stdout}${added.stderr}`).toContain('Ignored build scripts: node-pty');
  await works(directory);
  const command = 'pnpm approve-builds node-pty';
  await saysWhatToDo(directory, command);
  await run([...pnpm, ...command.split(' ').slice(1)], { cwd: directory, env: environment });
  await hasTerminals(directory);
});

test('Yarn, with node_modules', async () => {
  const directory = await consumer('with-yarn', { 'yarn.lock': '', '.yarnrc.yml': 'nodeLinker: node-modules\n' });
  const yarn = await manager('@yarnpkg/cli-dist@4', '@yarnpkg/cli-dist/bin/yarn.js');
  await run([...yarn, 'add', `nixos-disk-image@file:${tarball}`], { cwd: directory, env: environment });
  await works(directory);
  const command = 'npm rebuild node-pty --ignore-scripts=false';
  await saysWhatToDo(directory, command);
  await run(command.split(' '), { cwd: directory, env: environment });
  await hasTerminals(directory);
});

test('Yarn 1', async () => {
  const directory = await consumer('with-yarn-1');
  const yarn = await manager('yarn@1', 'yarn/bin/yarn.js');
  await run([...yarn, 'add', `file:${tarball}`], { cwd: directory, env: environment });
  await works(directory);
  await hasTerminals(directory);
});
