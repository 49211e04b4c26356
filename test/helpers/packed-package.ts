import { cp, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { run } from './run.ts';

/** Packs the package into a directory, as it would be published. @returns the tarball. */
export async function packPackage(directory: string): Promise<string> {
  const packed = await run([
    'npm',
    'pack',
    '--ignore-scripts',
    packageFile('.'),
    '--json',
    '--silent',
    '--pack-destination',
    directory,
  ]);
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  return join(directory, filename);
}

/** A copy of an example into which the packed tarball and all that it needs is installed. @returns its directory. */
export async function installExample(name: string): Promise<string> {
  // Of a plain name: node-gyp's makefiles take no other.
  const directory = await mkdtemp(join(tmpdir(), 'ndi-example-'));
  onTestFinished(() => removeTree(directory));
  const example = join(directory, name);
  await cp(packageFile(`examples/${name}`), example, {
    recursive: true,
    filter: (file) => !/\/(?:node_modules|dist)$/.test(file),
  });
  const tarball = await packPackage(directory);
  await run(['npm', 'install', '--prefer-offline', '--loglevel=error', tarball], { cwd: example });
  return example;
}
