import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { commandFailure } from '../../lib/run/step.ts';
import { findTool, requireTool } from '../../lib/run/tools.ts';
import { cachedDirectory, packageFile } from '../cache-directory.ts';
import { HarnessError } from '../errors.ts';
import type { BuilderKernel } from './builder-kernel.ts';

const STEP = 'builder initrd';

/** Modules that the builder VM needs if they are not built into the kernel: drivers for its disk and channel on either bus, and the
 *  filesystems of an image. Missing modules are skipped; the steps that need them then fail in the VM. */
const MODULES = [
  'virtio_mmio',
  'virtio_pci',
  'virtio_blk',
  'virtio_console',
  'virtio_rng',
  'loop',
  'ext4',
  'vfat',
  'nls_cp437',
  'nls_ascii',
  'nls_iso8859-1',
  'nls_utf8',
];

/** Filesystem modules that take a second to load under TCG: the kernel loads them when such a filesystem is mounted. */
const FILESYSTEM_MODULES = ['btrfs', 'xfs', 'f2fs', 'erofs', 'squashfs'];

/** Programs from this host that busybox lacks, or implements with fewer options. */
const PROGRAMS = [
  'mount',
  'umount',
  'unshare',
  'blkid',
  'mkfs.vfat',
  'tune2fs',
  'e2fsck',
  'resize2fs',
  'chroot',
  'rm',
  'tee',
];

/** Builds the builder VM's initrd from this host's tools and the kernel's modules; cached by its inputs.
 *  Runs: cc, busybox, ldd, cpio; xz or zstd for compressed modules. */
export async function builderInitrd(kernel: BuilderKernel): Promise<string> {
  const agent = packageFile('vm-images/builder/agent.c');
  const busybox = await requireTool(STEP, 'busybox');
  const programs = await Promise.all(PROGRAMS.map((name) => requireTool(STEP, name)));
  const key = createHash('sha256');
  key
    .update(await readFile(agent))
    .update(PROGRAMS.join())
    .update([...MODULES, ...FILESYSTEM_MODULES].join());
  for (const file of [busybox, ...programs, kernel.kernel, join(kernel.modules, 'modules.dep')]) {
    const facts = await stat(await realpath(file));
    key.update(`${file} ${facts.size} ${facts.mtimeMs}\n`);
  }
  const directory = await cachedDirectory(`builder-initrd-${key.digest('hex').slice(0, 20)}`, async (work) => {
    const root = join(work, 'root');
    await mkdir(join(root, 'bin'), { recursive: true });
    const compiler = (await findTool('cc')) ?? (await requireTool(STEP, 'gcc'));
    await run([compiler, '-O2', '-Wall', '-static', '-o', join(root, 'init'), agent]);
    await addBusybox(root, busybox);
    await addPrograms(root, programs);
    await addModules(root, kernel.modules);
    await pack(root, join(work, 'initrd'));
    await rm(root, { recursive: true });
  });
  return join(directory, 'initrd');
}

async function addBusybox(root: string, busybox: string): Promise<void> {
  await copyFile(await realpath(busybox), join(root, 'bin/busybox'));
  const applets = await run([busybox, '--list']);
  for (const applet of applets.split('\n'))
    if (applet !== '' && applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
}

/** Copies programs to /bin, and their libraries to the same paths as on this host. */
async function addPrograms(root: string, programs: readonly string[]): Promise<void> {
  const libraries = new Set<string>();
  for (const program of programs) {
    const target = join(root, 'bin', basename(program));
    await rm(target, { force: true });
    await copyFile(await realpath(program), target);
    await chmod(target, 0o755);
    const listed = await run(['ldd', await realpath(program)]);
    for (const match of listed.matchAll(/(?:=>\s+)?(\/\S+)\s+\(0x/g))
      if (match[1] !== undefined) libraries.add(match[1]);
  }
  for (const library of libraries) {
    const target = join(root, library);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(await realpath(library), target);
    await chmod(target, 0o755);
  }
}

/** Adds modules in load order, uncompressed, because not every kernel loads compressed ones. @see finit_module(2) */
async function addModules(root: string, modules: string): Promise<void> {
  const builtIn = new Set(
    (await readFile(join(modules, 'modules.builtin'), 'utf8').catch(() => '')).split('\n').map(moduleName),
  );
  const dependencies = new Map<string, { readonly file: string; readonly needs: readonly string[] }>();
  for (const line of (await readFile(join(modules, 'modules.dep'), 'utf8')).split('\n')) {
    const [file, needs = ''] = line.split(':');
    if (file === undefined || file === '') continue;
    dependencies.set(moduleName(file), {
      file,
      needs: needs
        .split(' ')
        .filter((path) => path !== '')
        .map(moduleName),
    });
  }
  const order: string[] = [];
  const add = (name: string): void => {
    const entry = dependencies.get(name);
    if (entry === undefined || builtIn.has(name) || order.includes(name)) return;
    for (const needed of entry.needs) add(needed);
    if (!order.includes(name)) order.push(name);
  };
  for (const name of MODULES) add(name.replaceAll('-', '_'));
  await mkdir(join(root, 'modules'));
  for (const name of order) {
    const file = join(modules, dependencies.get(name)?.file ?? '');
    await writeFile(join(root, 'modules', `${name}.ko`), await decompress(file));
  }
  await writeFile(join(root, 'modules/load'), order.map((name) => `${name}.ko\n`).join(''));

  const loaded = order.length;
  for (const name of FILESYSTEM_MODULES) add(name);
  const later = order.slice(loaded);
  const directory = join(root, 'lib/modules', basename(modules));
  await mkdir(directory, { recursive: true });
  await mkdir(join(root, 'sbin'), { recursive: true });
  // The kernel runs it to load `fs-btrfs`. @see Documentation/admin-guide/sysctl/kernel.rst, "modprobe"
  await symlink('../bin/busybox', join(root, 'sbin/modprobe'));
  for (const name of later)
    await writeFile(join(directory, `${name}.ko`), await decompress(join(modules, dependencies.get(name)?.file ?? '')));
  const needs = (name: string): string[] =>
    (dependencies.get(name)?.needs ?? []).filter((needed) => later.includes(needed)).map((needed) => `${needed}.ko`);
  await writeFile(
    join(directory, 'modules.dep'),
    later.map((name) => `${[`${name}.ko:`, ...needs(name)].join(' ')}\n`).join(''),
  );
  await writeFile(
    join(directory, 'modules.alias'),
    FILESYSTEM_MODULES.map((name) => `alias fs-${name} ${name}\n`).join(''),
  );
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_');
}

async function decompress(file: string): Promise<Buffer> {
  const bytes = await readFile(file);
  if (file.endsWith('.ko')) return bytes;
  if (file.endsWith('.gz')) return gunzipSync(bytes);
  const tool = file.endsWith('.xz') ? 'xz' : 'zstd';
  const result = await localExecutor.run([tool, '-dc', file]);
  if (result.exitCode !== 0) throw commandFailure(STEP, localExecutor, result);
  return result.stdout;
}

async function pack(root: string, target: string): Promise<void> {
  const names = (await readdir(root, { recursive: true, withFileTypes: true }))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
  const archive = await localExecutor.run(
    ['cpio', '--create', '--format=newc', '--owner=0:0', '--null', '--quiet', '--reproducible'],
    { cwd: root, input: names.map((name) => `${name}\0`).join('') },
  );
  if (archive.exitCode !== 0) throw commandFailure(STEP, localExecutor, archive);
  await writeFile(target, archive.stdout);
}

async function run(argv: readonly string[]): Promise<string> {
  const result = await localExecutor.run(argv);
  if (result.exitCode !== 0)
    throw new HarnessError(`${STEP}: ${argv[0]} failed`, {
      cause: commandFailure(STEP, localExecutor, result),
      detail: result.stderr.toString('utf8'),
    });
  return result.stdout.toString('utf8');
}
