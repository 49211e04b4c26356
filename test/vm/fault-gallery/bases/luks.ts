import { readFile, realpath, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { distributionKernel } from '../../../../harness/builder/builder-kernel.ts';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { requireTool } from '../../../../lib/run/tools.ts';
import type { PartitionedDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import type { BrokenImage } from '../broken-image.ts';
import { type CpioFile, withFiles } from '../cpio.ts';
import { GRUB_CFG, INITRD, text } from '../parts.ts';
import type { Derive } from './base.ts';

export const PASSPHRASE = 'correct horse';

/** The size of the two LUKS2 headers with their key slots, twice: reencrypt needs the second half and releases it. */
const MORE_BYTES = 32 * MIB;

/** In load order. */
const MODULES = ['crypto/ecb', 'crypto/xts', 'drivers/md/dm-mod', 'drivers/md/dm-crypt'];

/** A shell script for the initrd that opens `$luks` as /dev/mapper/root with the prompts that users see: cryptsetup's, and those of
 *  programs that read the passphrase themselves. @see cryptsetup src/utils_tools.c; systemd src/cryptsetup/cryptsetup.c,
 *  src/shared/ask-password-api.c */
export const ASKING = {
  cryptsetup: 'until cryptsetup open --disable-locks --tries 1 "$luks" root; do :; done',
  systemd: asking({
    prompt:
      '\\033[0;1;39m\u{1F510} Please enter passphrase for disk root:\\033[0m \\033[0;38;5;245m(press TAB for no echo) \\033[0m',
    trying: '',
    right: '',
    wrong: 'Failed to activate with specified passphrase. (Passphrase incorrect?)\n',
  }),
} as const;

function asking(says: Readonly<Record<'prompt' | 'trying' | 'right' | 'wrong', string>>): string {
  const say = (words: string): string => `printf '${words.replaceAll('\n', '\\n')}'`;
  return `while :; do
    ${say(says.prompt)}
    IFS= read -r -s passphrase; echo; ${say(says.trying)}
    if printf %s "$passphrase" | cryptsetup open --disable-locks --key-file - "$luks" root 2> /tmp/said
    then ${say(says.right)}; break; else ${say(says.wrong)}; fi
  done`;
}

/** A root in a LUKS2 partition, which the initrd opens with cryptsetup. It is created without the device mapper.
 *  Runs: cryptsetup, sfdisk, ldd. */
export const encryptRoot: Derive = async (image) => {
  const { root } = image.disk;
  const files = [...(await cryptsetupFiles()), ...(await moduleFiles(image)), await stage1(ASKING.cryptsetup)];
  const data = join(dirname(image.file), 'data');
  const key = join(dirname(image.file), 'key');
  await writeFile(key, PASSPHRASE, { mode: 0o600 });
  await writeFile(data, await image.read(root.offsetBytes, root.sizeBytes));
  await truncate(data, root.sizeBytes + MORE_BYTES);
  // Cheap to open, because the guest is emulated.
  const format = ['--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--sector-size', '512'];
  await run([
    ...['cryptsetup', '--batch-mode', '--disable-locks', 'reencrypt', '--encrypt', '--resilience', 'none', ...format],
    ...['--reduce-device-size', `${MORE_BYTES / MIB}M`, '--key-file', key, data],
  ]);
  const encrypted = await readFile(data);
  await truncate(image.file, (await stat(image.file)).size + MORE_BYTES + MIB);
  await image.changeTable((dump) =>
    dump.replace(new RegExp(`(start= *${root.startSectors}, size= *)\\d+`), `$1${encrypted.length / 512}`),
  );
  await image.overwrite(root.offsetBytes, encrypted);
  await image.changeOnEsp(
    GRUB_CFG,
    text((content) => content.replaceAll(/root=LABEL=\S+/g, 'root=/dev/mapper/root')),
  );
  await image.changeOnEsp(INITRD, (initrd) => withFiles(initrd, files));
  return withRootOf(image.disk, encrypted.length);
};

/** The demo's stage 1, which opens the LUKS partition before it looks for the root. */
export async function stage1(open: string): Promise<CpioFile> {
  const demo = await readFile(packageFile('vm-images/demo/system/stage-1.sh'), 'utf8');
  const load = MODULES.map((name) => `insmod /luks/${basename(name)}.ko`).join('\n');
  const before = `${load}\nmkdir -p /tmp\nluks=/dev/vda3\nmknod /dev/mapper/control c 10 236 2> /dev/null\n${open}\n`;
  return {
    path: 'init',
    content: text((script) => script.replaceAll(/@luks\w+@/g, '').replace('\nattempts=0\n', `\n${before}attempts=0\n`))(
      Buffer.from(demo),
    ),
  };
}

/** This host's cryptsetup, with its libraries at their paths. */
async function cryptsetupFiles(): Promise<CpioFile[]> {
  const program = await requireTool('luks', 'cryptsetup');
  const listed = await run(['ldd', program]);
  const libraries = [...listed.matchAll(/(?:=>\s+)?(\/\S+)\s+\(0x/g)].map(([, library = '']) => library);
  return Promise.all(
    [['bin/cryptsetup', program] as const, ...libraries.map((library) => [library.slice(1), library] as const)].map(
      async ([path, file]) => ({ path, content: await readFile(await realpath(file)) }),
    ),
  );
}

/** Modules of the image's kernel, from its package; the demo omits most of them. */
async function moduleFiles(image: BrokenImage): Promise<CpioFile[]> {
  const { modules } = await distributionKernel();
  const version = basename(modules);
  const links = await image.linkOfSystem('kernel-modules');
  if (!(await image.debugfs(`ls -p ${links}/lib/modules`)).includes(`/${version}/`))
    throw new Error(
      `the cache has the modules of ${version}, and the demo was built with another kernel: remove the cache`,
    );
  return Promise.all(
    MODULES.map(async (name) => ({
      path: `luks/${basename(name)}.ko`,
      content: await readFile(join(modules, 'kernel', `${name}.ko`)),
    })),
  );
}

function withRootOf(disk: PartitionedDisk, sizeBytes: number): PartitionedDisk {
  const root = { ...disk.root, sizeBytes, sizeSectors: sizeBytes / 512 };
  return {
    ...disk,
    root,
    partitions: disk.partitions.map((other) => (other.number === root.number ? root : other)),
  } as PartitionedDisk;
}
