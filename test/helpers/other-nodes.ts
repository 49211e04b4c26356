import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { packageFile } from '../../harness/cache-directory.ts';
import { run } from './run.ts';

/** The versions of Node that the package is tested on: the oldest that it takes, and the newest of each later line. */
export async function nodeVersions(): Promise<string[]> {
  const { engines } = JSON.parse(await readFile(packageFile('package.json'), 'utf8'));
  return [`${/^>=(\d+\.\d+)$/.exec(engines.node)?.[1]}.0`, '22', '24'];
}

export interface OtherNode {
  readonly version: string;
  /** PATH on which `node` is this one. */
  readonly path: string;
  /** With its headers in `include`. */
  readonly directory: string;
}

/** Installs a version of Node from npm's registry into a directory. */
export async function installNode(version: string, directory: string): Promise<OtherNode> {
  const name = `node-linux-${process.arch}`;
  const argv = ['npm', 'install', '--prefix', directory, '--no-save', '--prefer-offline', '--loglevel=error'];
  await run([...argv, `${name}@${version}`]);
  const installed = join(directory, 'node_modules', name);
  const path = [join(installed, 'bin'), process.env.PATH].join(delimiter);
  return { version: (await run(['node', '--version'], { env: { PATH: path } })).trim(), path, directory: installed };
}
