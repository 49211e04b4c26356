import { readdir, readFile, readlink, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SystemLocation } from '../../lib/build/context.ts';
import { UnexpectedStateError } from '../../lib/run/errors.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { commandFailure } from '../../lib/run/step.ts';
import { findTool } from '../../lib/run/tools.ts';
import { cachedDirectory } from '../cache-directory.ts';
import { HarnessError } from '../errors.ts';

/** A kernel for the builder VM, and its modules. */
export interface BuilderKernel {
  /** A bzImage. */
  readonly kernel: string;
  /** The directory `lib/modules/VERSION`, which contains modules.dep. */
  readonly modules: string;
}

const STEP = 'builder kernel';

/** Downloads Debian's cloud kernel and unpacks it into the cache, without installing it or root privileges.
 *  @throws {ToolFailedError} if the package cannot be downloaded.
 *  Runs: apt-cache, apt-get, dpkg-deb, busybox depmod. */
export async function distributionKernel(): Promise<BuilderKernel> {
  const directory = await cachedDirectory('builder-kernel', async (work) => {
    const depends = await run(['apt-cache', 'depends', 'linux-image-cloud-amd64'], work);
    const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
    if (name === undefined)
      throw new HarnessError(`${STEP}: linux-image-cloud-amd64 is not in the package lists`, {
        hint: 'run apt-get update',
      });
    await run(['apt-get', 'download', name], work);
    const file = (await readdir(work)).find((entry) => entry.endsWith('.deb'));
    if (file === undefined) throw new UnexpectedStateError(STEP, `apt-get download ${name} left no package`);
    await run(['dpkg-deb', '--extract', file, 'package'], work);
    const version = name.replace(/^linux-image-/, '').replace(/-unsigned$/, '');
    await rename(join(work, 'package/boot', `vmlinuz-${version}`), join(work, 'vmlinuz'));
    // busybox has depmod, so the package kmod is not required.
    await run(['busybox', 'depmod', '-b', join(work, 'package'), version], work);
    await rename(join(work, 'package/lib'), join(work, 'lib'));
    await run(['rm', '-rf', file, 'package'], work);
    await writeFile(join(work, 'version'), `${version}\n`);
  });
  const version = (await readFile(join(directory, 'version'), 'utf8')).trim();
  return { kernel: join(directory, 'vmlinuz'), modules: join(directory, 'lib/modules', version) };
}

/** Finds the kernel of a NixOS system, for hosts without Debian packages.
 *  @param toplevel the system's store path.
 *  @param store the directory of the private store that contains it; default: the host's store. */
export async function systemKernel(toplevel: string, store = '/'): Promise<BuilderKernel> {
  // Links in a private store have targets without the store's directory.
  const follow = async (path: string): Promise<string> => join(store, await readlink(join(store, path)));
  const modules = join(await follow(join(toplevel, 'kernel-modules')), 'lib/modules');
  const version = (await readdir(modules))[0];
  if (version === undefined)
    throw new UnexpectedStateError(STEP, `${modules} is empty`, { expected: 'a directory of modules' });
  return { kernel: await follow(join(toplevel, 'kernel')), modules: join(modules, version) };
}

/** Chooses a kernel for a builder VM: the distribution's, or the system's if that is not available.
 *  @throws {ToolFailedError} if neither is available. */
export async function defaultKernel(system: SystemLocation | undefined): Promise<BuilderKernel> {
  if (system === undefined) return distributionKernel();
  if ((await findTool('apt-get')) === undefined) return systemKernel(system.toplevel, system.store);
  return distributionKernel().catch((error: unknown) =>
    systemKernel(system.toplevel, system.store).catch(() => {
      throw error;
    }),
  );
}

async function run(argv: readonly string[], cwd: string): Promise<string> {
  const result = await localExecutor.run(argv, { cwd });
  if (result.exitCode !== 0)
    throw commandFailure(STEP, localExecutor, result, {
      hint: 'the kernel is a Debian package: run apt-get update and check the APT sources, or pass the `kernel` option',
    });
  return result.stdout.toString('utf8');
}
