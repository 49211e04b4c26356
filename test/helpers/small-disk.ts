import { mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run } from './run.ts';

const MIB = 1024 ** 2;
const MTOOLS = { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1', TZ: 'UTC' };
const STORE_PATH = '/nix/store/0123456789abcdfghijklmnpqrsvwxyz-system';

export type Files = Readonly<Record<string, string | Buffer>>;

/** Writes files and their directories to a FAT in an image. */
export async function writeFat(image: string, offsetBytes: number, files: Files): Promise<void> {
  const at = `${basename(image)}@@${offsetBytes}`;
  const options = { cwd: dirname(image), env: MTOOLS };
  const directories = new Set<string>();
  for (const path of Object.keys(files))
    for (let parent = dirname(path); parent !== '.'; parent = dirname(parent)) directories.add(parent);
  const sorted = [...directories].sort((a, b) => a.length - b.length);
  if (sorted.length > 0) await run(['mmd', '-D', 's', '-i', at, ...sorted.map((path) => `::/${path}`)], options);
  for (const [path, content] of Object.entries(files)) {
    await writeFile(join(dirname(image), 'written'), content);
    await run(['mcopy', '-o', '-i', at, 'written', `::/${path}`], options);
  }
}

export interface SmallDisk {
  readonly image: string;
  /** The offsets of the partitions in bytes. */
  readonly esp: number;
  readonly root: number;
}

/** Creates a disk of 12 MiB with a GPT: an ESP with files, an ext4 with a NixOS generation, a partition of zeros, and GRUB's boot
 *  sector and core image. */
export async function makeSmallDisk(directory: string, files: Files): Promise<SmallDisk> {
  const image = join(directory, 'small.img');
  const root = join(directory, 'small-root');
  const profiles = join(root, 'nix/var/nix/profiles');
  await mkdir(join(root, STORE_PATH), { recursive: true });
  await mkdir(profiles, { recursive: true });
  await writeFile(join(root, STORE_PATH, 'init'), 'x'.repeat(20_000));
  await symlink(STORE_PATH, join(profiles, 'system-1-link'));
  await symlink('system-1-link', join(profiles, 'system'));
  await using handle = await open(image, 'w');
  await handle.truncate(12 * MIB);
  const sizes = { bios: [2048, 128], esp: [4096, 8192], root: [12_288, 8192], other: [20_480, 2048] } as const;
  const types = {
    bios: '21686148-6449-6E6F-744E-656564454649',
    esp: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
    root: '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709',
    other: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  };
  const table = (['bios', 'esp', 'root', 'other'] as const).map(
    (name) => `start=${sizes[name][0]}, size=${sizes[name][1]}, type=${types[name]}`,
  );
  await run(['sfdisk', '--quiet', './small.img'], { cwd: directory, input: `label: gpt\n${table.join('\n')}\n` });
  const [esp, rootAt] = [sizes.esp[0] * 512, sizes.root[0] * 512];
  await run(['mkfs.vfat', '-n', 'ESP', '-i', '12345678', '--offset', `${sizes.esp[0]}`, 'small.img', '4096'], {
    cwd: directory,
  });
  await writeFat(image, esp, files);
  await run(
    [
      'mkfs.ext4',
      '-q',
      '-O',
      '^has_journal',
      '-L',
      'nixos',
      '-d',
      'small-root',
      '-E',
      `offset=${rootAt}`,
      './small.img',
      '4096k',
    ],
    {
      cwd: directory,
    },
  );
  const code = Buffer.alloc(440, 0x90);
  code.write('GRUB', 0x180, 'latin1');
  code.writeBigUInt64LE(2048n, 0x5c);
  await handle.write(code, 0, code.length, 0);
  const core = Buffer.alloc(64 * 512, 0xa5);
  core.writeBigUInt64LE(2049n, 0x1f4);
  core.writeUInt16LE(63, 0x1f4 + 8);
  await handle.write(core, 0, core.length, 2048 * 512);
  return { image, esp, root: rootAt };
}
