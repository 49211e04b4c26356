import { writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { type BootPlace, grubConfig } from '../boot-loader/grub-config.ts';
import { embedGrubCore, GRUB_MODULES, makeGrubCore } from '../boot-loader/grub-core.ts';
import { type FatFile, readFat, writeFatTree } from '../filesystem/fat.ts';
import { GRUB_MODULE, ROOT_FILESYSTEMS } from '../filesystem/root-filesystem.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { writeInside } from '../host-files/inside-root.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { efiArchitecture, type Generation, readGeneration } from '../nix/bootspec.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { generations, partitionedDisk, path, timeoutSeconds, timestamp } from '../spec/fields.ts';

const STEP = 'installGrub';

const schema = z.object({
  /** A raw disk image, partitioned. */
  image: path,
  /** What partitionDisk returned. A FAT that is /boot, and the ESP, must have been made (makeBootFilesystem). */
  disk: partitionedDisk,
  /** What it is to boot from: legacy BIOS, EFI, or both. */
  firmware: z
    .array(z.enum(['bios', 'efi']))
    .min(1, 'must name bios, efi or both')
    .readonly(),
  /** The staged root directory: where the layout has no /boot of its own, `boot/grub` goes into it. */
  stagedRoot: path,
  /** The UUID that the root filesystem has, or will have. */
  rootUuid: z.string().regex(/^[0-9A-Fa-f-]+$/, 'must be the UUID of the root filesystem'),
  /** Of the root; default "ext4". */
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  /** The generations of the system profile; the last is the default. */
  generations,
  /** A private store's directory; default: the host's store. */
  store: path.optional(),
  /** The closure in the image: what is booted must be in it. Default: not checked. */
  storePaths: z.array(z.string()).readonly().optional(),
  /** The directory with GRUB's platforms (`i386-pc`, `x86_64-efi` …); default: where they are beside a directory of
   *  PATH. */
  grubDirectory: path.optional(),
  /** How long the menu waits; default 5, as in NixOS. */
  timeoutSeconds: timeoutSeconds.default(5),
  /** Seconds since 1970 for files on a FAT, and for the entries' dates; default: now. */
  timestamp: timestamp.optional(),
});

const OLD_NAMES = { root: 'stagedRoot', grubFolder: 'grubDirectory' } as const;

export type InstallGrubOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface InstalledGrub {
  /** Bytes of the BIOS core image, and of the room it had; undefined without BIOS. */
  readonly core: { readonly sizeBytes: number; readonly availableBytes: number } | undefined;
  /** Files on the boot partition, or in the root's /boot, from `/boot`. */
  readonly bootFiles: readonly string[];
}

/** Installs GRUB into an image from the systems' boot.json alone: no VM, no root, nothing of the system runs.
 *
 *  BIOS: the core image in the gap behind an MBR or in the BIOS boot partition, and the boot sector that loads it. EFI: the
 *  removable path. grub.cfg has an entry for each generation and specialisation, in NixOS's places (`/boot/grub`, and
 *  `/boot/kernels` where /boot is a filesystem of its own), so that `nixos-rebuild boot` in the machine carries on; it uses the
 *  serial console that the kernel is told of.
 *  @throws {InvalidOptionsError} as installSystemdBoot.
 *  @throws {ImageTooSmallError} when the core image is larger than its place, or the kernels than theirs: needed and available bytes.
 *  @throws {ToolMissingError} without grub-mkimage or the modules of a platform.
 *  @see GNU GRUB manual, "BIOS installation", "Embedded configuration"; NixOS RFC 125. Runs: cat, find, grub-mkimage, mcopy,
 *  mdir, mmd. */
export const installGrub: Step<InstallGrubOptions, InstalledGrub> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['cat', 'find', 'grub-mkimage', 'mcopy', 'mdir', 'mmd'],
  where: 'host',
  async prepare(parsed) {
    await requireDisk(STEP, parsed.image, parsed.disk.partitions);
    const systems: Generation[] = [];
    for (const generation of parsed.generations) systems.push(await readGeneration(STEP, generation, parsed));
    const newest = systems.at(-1)?.systems[0];
    if (newest === undefined) throw new InvalidOptionsError(STEP, [{ path: 'generations', message: 'is empty' }]);
    checkPlaces(parsed);
    return { systems, newest };
  },
  detail: ({ firmware }) => firmware.join(', '),
  async run(step, parsed, { systems, newest }) {
    const { image, disk, firmware, timestamp: time } = parsed;
    await using work = await makePrivateDirectory(dirname(resolve(image)));
    const bootPartition = disk.partitions.find(({ mountPoint }) => mountPoint === '/boot');
    const boot: BootPlace =
      bootPartition === undefined
        ? { uuid: parsed.rootUuid, prefix: '/boot/grub', kernelsOn: parsed.rootUuid, copies: false }
        : await onPartition({ image, offsetBytes: bootPartition.offsetBytes });
    const { config, kernels } = grubConfig(systems, boot, parsed.timeoutSeconds, time ?? Date.now() / 1000);
    const files: FatFile[] = [{ path: 'grub/grub.cfg', content: { text: config } }, ...kernels];
    if (bootPartition === undefined) await writeInside(STEP, resolve(parsed.stagedRoot), '/boot/grub/grub.cfg', config);
    else await writeFatTree(step, { image, offsetBytes: bootPartition.offsetBytes }, { directories: [], files }, time);

    const early = join(work.path, 'early.cfg');
    await writeFile(early, `search.fs_uuid ${boot.uuid} root\nset prefix=($root)${boot.prefix}\n`);
    const modules = [...GRUB_MODULES, GRUB_MODULE[parsed.fsType]];
    const core = firmware.includes('bios')
      ? await embedGrubCore(
          step,
          parsed,
          await makeGrubCore(step, 'i386-pc', [...modules, 'biosdisk'], boot, early, parsed.grubDirectory),
        )
      : undefined;
    if (firmware.includes('efi') && disk.esp !== undefined) {
      const architecture = efiArchitecture(newest.system);
      if (architecture === undefined)
        throw new InvalidOptionsError(STEP, [{ path: 'firmware', message: `${newest.system} has no EFI` }]);
      const loader = await makeGrubCore(
        step,
        architecture.grub,
        [...modules, 'efi_gop'],
        boot,
        early,
        parsed.grubDirectory,
      );
      const name = `EFI/BOOT/BOOT${architecture.name.toUpperCase()}.EFI`;
      const content = { source: loader.file, sizeBytes: loader.sizeBytes };
      await writeFatTree(
        step,
        { image, offsetBytes: disk.esp.offsetBytes },
        { directories: [], files: [{ path: name, content }] },
        time,
      );
    }
    return { core, bootFiles: files.map((file) => file.path).sort() };
  },
});

async function onPartition(location: { readonly image: string; readonly offsetBytes: number }): Promise<BootPlace> {
  const { volumeId } = await readFat(STEP, location);
  return { uuid: volumeId, prefix: '/grub', kernelsOn: volumeId, copies: true };
}

function checkPlaces({ firmware, disk }: z.output<typeof schema>): void {
  const issues = [];
  if (firmware.includes('bios') && disk.table === 'gpt' && disk.biosGrub === undefined)
    issues.push({ path: 'firmware', message: 'bios: the GPT has no BIOS boot partition for the core image' });
  if (firmware.includes('bios') && disk.table === 'none')
    issues.push({ path: 'firmware', message: 'bios: there is no partition table, and so no place for the core image' });
  if (firmware.includes('efi') && disk.esp === undefined)
    issues.push({ path: 'firmware', message: 'efi: there is no EFI system partition' });
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
}
