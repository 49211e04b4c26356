import { open, readFile, realpath } from 'node:fs/promises';
import { basename, delimiter, dirname, join } from 'node:path';
import type { Extent } from '../formats/extent.ts';
import { ImageTooSmallError, ToolMissingError, UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { findTool, packageHint } from '../run/tools.ts';
import { SECTOR_BYTES } from '../units.ts';

/** Modules that are in the core image, which so needs no other file than grub.cfg. */
export const GRUB_MODULES = [
  ...['part_gpt', 'part_msdos', 'fat', 'normal', 'configfile', 'search', 'search_fs_uuid', 'search_fs_file'],
  ...['search_label', 'linux', 'gzio', 'serial', 'terminal', 'echo', 'test', 'ls', 'cat', 'help', 'reboot', 'halt'],
  ...['minicmd', 'sleep', 'loadenv', 'all_video'],
];

/** GRUB's core image for a platform, as a file. */
export interface GrubCore {
  readonly file: string;
  readonly directory: string;
  readonly sizeBytes: number;
}

/** Makes a core image that finds grub.cfg by itself.
 *  @throws {ToolMissingError} without grub-mkimage or the platform's modules. Runs: grub-mkimage. */
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

/** Copies a platform's modules and lists, as grub-install does: what a menu asks for beyond the core image comes from there.
 *  @param target a directory of this host. @returns the names. Runs: cp, find. */
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

/** The directory of a platform's modules: in `grubDirectory`, or else in `lib/grub` beside a directory of PATH. In a Nix store, each
 *  platform is a package of its own. It is where grub-mkimage runs. */
async function findPlatform(step: StepRunner, platform: string, grubDirectory: string | undefined): Promise<string> {
  const directories =
    grubDirectory === undefined
      ? [...new Set([...(await searchedDirectories(step)), '/usr/lib/grub'])]
      : [grubDirectory];
  const places = directories.map((directory) => join(directory, platform));
  // It exits 1 for a directory that is not there.
  const found = await step.tryRun(['find', '-L', ...places, '-maxdepth', '1', '-name', 'moddep.lst'], { answers: [1] });
  const [first] = found.stdout.toString('utf8').split('\n');
  if (first !== undefined && first !== '') return dirname(first);
  throw new ToolMissingError(step.step, `GRUB for ${platform}`, {
    hint: `${grubDirectory ?? 'no directory of PATH'} has none; ${packageHint(platform)}`,
  });
}

/** `lib/grub` beside where this host has programs: most of all GRUB's own. */
async function searchedDirectories(step: StepRunner): Promise<string[]> {
  const searched = step.executor.searchPath?.();
  if (searched === undefined) return [];
  const tool = await findTool('grub-mkimage');
  if (tool === undefined) throw new ToolMissingError(step.step, 'grub-mkimage', { hint: packageHint('grub-mkimage') });
  return [dirname(await realpath(tool)), ...searched.split(delimiter)].map((bin) => join(dirname(bin), 'lib/grub'));
}

/** Boot code in front of an MBR's own fields. */
export const BOOT_CODE_BYTES = 440;

/** Offsets in boot.img and in the core image's first sector: where the one names the core image, and the other the rest of it.
 *  @see GRUB's boot.S and diskboot.S */
export const KERNEL_SECTOR_AT = 0x5c;
const BOOT_DRIVE_AT = 0x64;
const DRIVE_CHECK_AT = 0x66;
export const BLOCK_LIST_AT = 0x1f4;
const CORE_SEGMENT = 0x820;

/** A raw disk image, and where its core image may go. Bytes. */
interface GrubDisk {
  readonly image: string;
  readonly disk: {
    readonly partitions: readonly Extent[];
    readonly biosGrub?: Extent | undefined;
  };
}

/** Writes the core image behind the MBR or into the BIOS boot partition, and the boot code that loads it. */
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
      disk.biosGrub === undefined ? 'the gap behind the MBR' : 'the BIOS boot partition',
      { neededBytes: core.length, availableBytes: place.sizeBytes },
      { hint: "GRUB's core image goes there" },
    );
  if (boot.length < SECTOR_BYTES || core.length < 2 * SECTOR_BYTES)
    throw new UnexpectedStateError(step.step, `${directory} has no GRUB for BIOS`, {
      found: `boot.img of ${boot.length} bytes`,
    });
  const sector = place.offsetBytes / SECTOR_BYTES;
  const sectors = Math.ceil(core.length / SECTOR_BYTES);
  // Where its own first sector finds the rest.
  core.writeBigUInt64LE(BigInt(sector + 1), BLOCK_LIST_AT);
  core.writeUInt16LE(sectors - 1, BLOCK_LIST_AT + 8);
  core.writeUInt16LE(CORE_SEGMENT, BLOCK_LIST_AT + 10);
  boot.writeBigUInt64LE(BigInt(sector), KERNEL_SECTOR_AT);
  // The drive that the BIOS booted from, and no check for BIOSes that tell a wrong one, as grub-install does on a hard disk.
  boot.writeUInt8(0xff, BOOT_DRIVE_AT);
  boot.writeUInt16LE(0x9090, DRIVE_CHECK_AT);
  const handle = await open(image, 'r+');
  try {
    await handle.write(core, 0, core.length, place.offsetBytes);
    await handle.write(boot, 0, BOOT_CODE_BYTES, 0);
    // A zero-filled table is signed by who wrote it; without a signature no BIOS boots it.
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
