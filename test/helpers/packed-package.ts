import { cp, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { run } from './run.ts';

/** A directory for one test, with a plain name: node-gyp's makefiles take no other. */
export async function plainDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-package-'));
  onTestFinished(() => removeTree(directory));
  return directory;
}

/** Packs the package as it would be published. @returns the tarball. */
export async function packPackage(): Promise<string> {
  const directory = await plainDirectory();
  const packed = await run(['npm', 'pack', packageFile('.'), '--json', '--silent', '--pack-destination', directory]);
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  return join(directory, filename);
}

/** A copy of an example into which the packed tarball and all that it needs is installed. @returns its directory. */
export async function installExample(name: string): Promise<string> {
  const directory = await plainDirectory();
  await cp(packageFile(`examples/${name}`), directory, {
    recursive: true,
    filter: (file) => !/\/(?:node_modules|dist)$/.test(file),
  });
  await run(['npm', 'install', '--prefer-offline', '--loglevel=error', await packPackage()], { cwd: directory });
  return directory;
}
