import { mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getContainerRuntimeClient, ImageName } from 'testcontainers';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { prepareDemo } from '../../vm-images/demo.ts';
import { prepareToolbox } from '../../vm-images/toolbox.ts';
import { codeBlock, commandsOf } from '../helpers/code-blocks.ts';
import { run } from '../helpers/run.ts';

test('docs/containers.md: the toolbox image is built and used as described', async () => {
  const { store, systems } = await prepareDemo();
  await prepareToolbox('debian-13');
  const directory = await mkdtemp(join(packageFile('dist'), 'docs-'));
  onTestFinished(() => removeTree(directory));
  await symlink(systems['tiny-grub-bios'] ?? '', join(directory, 'result'));
  await symlink(packageFile('vm-images'), join(directory, 'vm-images'));
  const [make = '', use = ''] = commandsOf(codeBlock('docker build'));
  // Without a registry: the base image was built from the distribution's packages, and packages are downloaded over the host's
  // network.
  const made = make
    .replace('docker build', 'docker build --network=host')
    .replace('BASE=debian:trixie-slim', 'BASE=nixos-disk-image-base:trixie');
  expect(made).not.toContain('debian:trixie');
  const environment = { DOCKER_HOST: process.env.DOCKER_HOST ?? '' };
  await run(['sh', '-euc', made], { cwd: directory, env: environment });
  await run(['sh', '-euc', use.replace('nixos-disk-image build', `"$0" "$1" build --store '${store}'`), ...tool()], {
    cwd: directory,
    env: environment,
  });
  await run(['test', '-s', join(directory, 'images/nixos.img')]);
  const client = await getContainerRuntimeClient();
  expect(await client.image.exists(ImageName.fromString('nixos-disk-image-toolbox:debian-13'))).toBe(true);
});

function tool(): string[] {
  return [process.execPath, packageFile('dist/cli/main.js')];
}

test('docs/containers.md: the script', async () => {
  const { store, systems } = await prepareDemo();
  const directory = await mkdtemp(join(packageFile('dist'), 'docs-'));
  onTestFinished(() => removeTree(directory));
  await writeFile(join(directory, 'build.mjs'), codeBlock('// build-in-container.mjs').text);
  const result = await localExecutor.run([process.execPath, 'build.mjs', systems['tiny-systemd-boot'] ?? '', store], {
    cwd: directory,
    env: { TOOLBOX: await prepareToolbox('debian-12') },
  });
  expect(result.stderr.toString('utf8')).toBe('');
  expect(result.stdout.toString('utf8')).toMatch(
    /images\/nixos\.img by the container nixos-disk-image-toolbox:debian-12/,
  );
});
