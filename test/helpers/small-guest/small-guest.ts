import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { distributionKernel } from '../../../harness/builder/builder-kernel.ts';
import { cachedDirectory } from '../../../harness/cache-directory.ts';
import type { VerifyBootOptions } from '../../../harness/verify/verify-boot.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { run } from '../run.ts';
import { tempDirectory } from '../temp-directory.ts';

/** What the small guest does in addition to starting busybox's init and its getty. The scripts are for busybox's sh. */
export interface GuestMode {
  /** "bios" starts SeaBIOS and GRUB; "direct" starts the kernel directly. Default: "direct", which is faster. */
  readonly firmware?: 'bios' | 'direct';
  /** Commands in GRUB's entry before it starts the kernel. */
  readonly loader?: string;
  /** Additional kernel parameters. */
  readonly parameters?: string;
  /** A script for the initrd, before the root is mounted. It may set `root` and the mount's `flags`, or never return. */
  readonly stage1?: string;
  /** A script that the system's init runs before any login. */
  readonly stage2?: string;
  /** Files of the root that differ from `tree`; `false` removes a file. Scripts and ELF files are executable. */
  readonly files?: Readonly<Record<string, string | Buffer | false>>;
}

const SOURCES = import.meta.dirname;
const OFFSET_BYTES = 1024 * 1024;

/** Kernel parameters for a faster boot in an emulator; they do not affect the console. */
const FASTER = [
  ...['root=LABEL=small', 'console=ttyS0,115200', 'edd=off', 'cryptomgr.notests'],
  'initcall_blacklist=cubictcp_register,load_system_certificate_list,init_kprobe_trace',
].join(' ');

/** Returns the options of verifyBoot for a guest in a mode.
 *  @param directory the directory for its image; default: one that is removed after the test. A concurrent test must give one,
 *  because vitest then cannot tell which test it belongs to.
 *  Runs: fakeroot, busybox, cpio, mke2fs, sfdisk, grub-mkimage the first time; cp, cpio, debugfs each time. */
export async function smallGuest(
  mode: GuestMode,
  directory?: string,
): Promise<Pick<VerifyBootOptions, 'image' | 'firmware' | 'kernel' | 'memoryMiB'>> {
  const { kernel, modules } = await distributionKernel();
  const base = await cachedBase(kernel, modules);
  const work = directory ?? (await tempDirectory());
  const image = join(work, 'small.img');
  await run(['cp', '--sparse=always', join(base, 'disk.img'), image]);
  const initrdMode = mode.stage1 === undefined ? undefined : await cpio(work, 'mode', mode.stage1);
  const parameters = `${FASTER} ${mode.parameters ?? ''}`;
  const config = (await readFile(join(SOURCES, 'tree/boot/grub/grub.cfg'), 'utf8'))
    .replace('PARAMETERS', parameters)
    .replace('true # what a case does first', mode.loader ?? '');
  await writeOnRoot(work, image, {
    ...(mode.firmware === 'bios'
      ? {
          '/boot/grub/grub.cfg': config,
          ...(initrdMode === undefined ? {} : { '/boot/mode': initrdMode }),
        }
      : {}),
    ...(mode.stage2 === undefined ? {} : { '/etc/mode': mode.stage2 }),
    ...mode.files,
  });
  if (mode.firmware === 'bios') return { image, firmware: 'bios', memoryMiB: 256 };
  const initrd = join(work, 'initrd');
  await writeFile(initrd, Buffer.concat([await readFile(join(base, 'initrd')), initrdMode ?? Buffer.alloc(0)]));
  return { image, firmware: 'direct', kernel: { kernel, initrd, commandLine: parameters }, memoryMiB: 256 };
}

/** Returns the disk and its initrd, cached by their inputs. */
async function cachedBase(kernel: string, modules: string): Promise<string> {
  const key = createHash('sha256').update(basename(modules));
  const files = (await readdir(SOURCES, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  for (const file of files) key.update(relative(SOURCES, file)).update(await readFile(file));
  return cachedDirectory(`small-guest-${key.digest('hex').slice(0, 16)}`, async (made) => {
    await run(['fakeroot', 'sh', join(SOURCES, 'build.sh'), made, kernel, modules, SOURCES]);
  });
}

/** Builds an archive of one file, which the kernel unpacks after the initrd. */
async function cpio(directory: string, name: string, content: string): Promise<Buffer> {
  await writeFile(join(directory, name), `${content}\n`);
  const result = await localExecutor.run(['cpio', '--quiet', '--create', '--format=newc', '--owner=0:0'], {
    cwd: directory,
    input: `${name}\n`,
  });
  return result.stdout;
}

async function writeOnRoot(directory: string, image: string, files: NonNullable<GuestMode['files']>): Promise<void> {
  const commands: string[] = [];
  for (const [index, [path, content]] of Object.entries(files).entries()) {
    commands.push(`rm ${path}`);
    if (content === false) continue;
    const local = `file-${index}`;
    await writeFile(join(directory, local), content);
    const isProgram = ['#!', '\x7fELF'].some((magic) => content.indexOf(magic) === 0);
    const mode = isProgram ? '0100755' : '0100644';
    commands.push(`write ${local} ${path}`, `sif ${path} mode ${mode}`);
  }
  if (commands.length === 0) return;
  const input = `${commands.join('\n')}\n`;
  await run(['debugfs', '-w', '-f', '-', `./${basename(image)}?offset=${OFFSET_BYTES}`], { cwd: directory, input });
}
