import { open, readFile, realpath } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import type { Extent } from '../formats/extent.ts';
import { ImageTooSmallError, ToolMissingError, UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { findTool, packageHint } from '../run/tools.ts';
import { SECTOR_BYTES } from '../units.ts';

/** Modules in the core image, so that it needs no file other than grub.cfg. */
export const GRUB_MODULES = [
  ...['part_gpt', 'part_msdos', 'fat', 'normal', 'configfile', 'search', 'search_fs_uuid', 'search_fs_file'],
  ...['search_label', 'linux', 'gzio', 'serial', 'terminal', 'echo', 'test', 'ls', 'cat', 'help', 'reboot', 'halt'],
  ...['minicmd', 'sleep', 'loadenv', 'all_video'],
];

/** A file with GRUB's core image for a platform. */
export interface GrubCore {
  readonly file: string;
  readonly directory: string;
  readonly sizeBytes: number;
}

/** Makes a core image that finds grub.cfg by itself.
 *  @throws {ToolMissingError} when grub-mkimage or the platform's modules are missing. Runs: grub-mkimage. */
export async function makeGrubCore(
  step: StepRunner,
  platform: string,
  modules: readonly string[],
  prefix: string,
  early: string,
  grubDirectory: string | undefined,
): Promise<GrubCore> {
  const directory = await findPlatform(step, platform, grubDirectory);
  const file = join(dirname(early), `${platform}.img`);
  await step.run(['grub-mkimage', '-d', directory, '-O', platform, '-o', file, '-p', prefix, '-c', early, ...modules], {
    what: `cannot make GRUB's core image for ${platform}`,
  });
  return { file, directory, sizeBytes: (await readFile(file)).length };
}

/** Copies a platform's modules and lists, like grub-install: a menu may load modules that are not in the core image.
 *  @param target a directory of this host. @returns the file names. Runs: cp, find. */
export async function copyGrubModules(step: StepRunner, directory: string, target: string): Promise<string[]> {
  const named = ['-name', '*.mod', '-o', '-name', '*.lst'];
  const { stdout } = await step.run(['find', '-L', directory, '-maxdepth', '1', '-type', 'f', '(', ...named, ')'], {
    what: "cannot list GRUB's modules",
  });
  const files = stdout
    .toString('utf8')
    .split('\n')
    .filter((file) => file !== '');
  await step.run(['cp', '-t', target, '--', ...files], { what: "cannot copy GRUB's modules" });
  return files.map((file) => basename(file)).sort();
}

/** Finds the directory of a platform's modules, in `grubDirectory`, or otherwise in `lib/grub` beside each directory of
 *  PATH. In a Nix store, each platform is in a separate package. The executor searches, because grub-mkimage runs
 *  there. */
async function findPlatform(step: StepRunner, platform: string, grubDirectory: string | undefined): Promise<string> {
  const directories =
    grubDirectory === undefined
      ? [...new Set([...(await searchedDirectories(step)), '/usr/lib/grub'])]
      : [grubDirectory];
  const places = directories.map((directory) => join(directory, platform));
  // find exits with status 1 if a directory does not exist.
  const found = await step.tryRun(['find', '-L', ...places, '-maxdepth', '1', '-name', 'moddep.lst'], { answers: [1] });
  const [first] = found.stdout.toString('utf8').split('\n');
  if (first !== undefined && first !== '') return dirname(first);
  throw new ToolMissingError(step.step, `GRUB for ${platform}`, {
    hint: `${grubDirectory === undefined ? 'no lib/grub beside a directory of PATH has it' : `${grubDirectory} does not have it`}; ${packageHint(platform)}`,
  });
}

/** `lib/grub` beside each directory of programs, GRUB's own first. */
async function searchedDirectories(step: StepRunner): Promise<string[]> {
  const searched = step.executor.searchPath?.();
  if (searched === undefined) return [];
  const tool = await findTool('grub-mkimage');
  if (tool === undefined) throw new ToolMissingError(step.step, 'grub-mkimage', { hint: packageHint('grub-mkimage') });
  return [dirname(await realpath(tool)), ...searched.split(delimiter)].map((bin) => join(dirname(bin), 'lib/grub'));
}

/** The size of the boot code before the fields of an MBR. */
export const BOOT_CODE_BYTES = 440;

/** The offset in boot.img of the core image's first sector number, and the offset in that sector of the block list for
 *  the rest.
 *  @see GRUB's boot.S and diskboot.S */
export const KERNEL_SECTOR_AT = 0x5c;
const BOOT_DRIVE_AT = 0x64;
const DRIVE_CHECK_AT = 0x66;
export const BLOCK_LIST_AT = 0x1f4;
const CORE_SEGMENT = 0x820;

/** A raw disk image, and its partitions in bytes. */
interface GrubDisk {
  readonly image: string;
  readonly disk: {
    readonly partitions: readonly Extent[];
    readonly biosGrub?: Extent | undefined;
  };
}

/** Writes the core image into the BIOS boot partition, or into the gap after the MBR, and the boot code that loads it
 *  into the MBR. */
export async function embedGrubCore(
  step: StepRunner,
  { image, disk }: GrubDisk,
  { file, directory }: GrubCore,
): Promise<{ readonly sizeBytes: number; readonly availableBytes: number }> {
  const core = await readFile(file);
  const { stdout: boot } = await step.run(['cat', join(directory, 'boot.img')], {
    what: "cannot read GRUB's boot sector",
  });
  const firstPartition = Math.min(...disk.partitions.map(({ offsetBytes }) => offsetBytes));
  const place = disk.biosGrub ?? { offsetBytes: SECTOR_BYTES, sizeBytes: firstPartition - SECTOR_BYTES };
  if (core.length > place.sizeBytes)
    throw new ImageTooSmallError(
      step.step,
      disk.biosGrub === undefined ? 'the gap after the MBR' : 'the BIOS boot partition',
      { neededBytes: core.length, availableBytes: place.sizeBytes },
      { hint: "make room for GRUB's core image there" },
    );
  if (boot.length < SECTOR_BYTES || core.length < 2 * SECTOR_BYTES)
    throw new UnexpectedStateError(step.step, `${directory} does not contain GRUB for BIOS`, {
      found: `boot.img of ${boot.length} bytes`,
    });
  const sector = place.offsetBytes / SECTOR_BYTES;
  const sectors = Math.ceil(core.length / SECTOR_BYTES);
  // The block list, with which the first sector loads the rest.
  core.writeBigUInt64LE(BigInt(sector + 1), BLOCK_LIST_AT);
  core.writeUInt16LE(sectors - 1, BLOCK_LIST_AT + 8);
  core.writeUInt16LE(CORE_SEGMENT, BLOCK_LIST_AT + 10);
  boot.writeBigUInt64LE(BigInt(sector), KERNEL_SECTOR_AT);
  // Like grub-install for a hard disk: use the drive that the BIOS reports, and skip the workaround for BIOSes that
  // report a wrong one.
  boot.writeUInt8(0xff, BOOT_DRIVE_AT);
  boot.writeUInt16LE(0x9090, DRIVE_CHECK_AT);
  const handle = await open(image, 'r+');
  try {
    await handle.write(core, 0, core.length, place.offsetBytes);
    await handle.write(boot, 0, BOOT_CODE_BYTES, 0);
    // The partitioning tool wrote the signature; without it, no BIOS boots the disk.
    const signature = Buffer.alloc(2);
    await handle.read(signature, 0, 2, 510);
    if (signature.readUInt16LE() !== 0xaa55)
      throw new UnexpectedStateError(step.step, `${basename(image)} has no partition table`, {
        expected: '0x55 0xaa at byte 510',
      });
  } finally {
    await handle.close();
  }
  step.note(`core image: ${core.length} of ${place.sizeBytes} bytes at sector ${sector}`);
  return { sizeBytes: core.length, availableBytes: place.sizeBytes };
}
