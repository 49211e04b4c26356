import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { copiedFiles, laterWins } from '../boot-loader/copied-files.ts';
import { type BootPlace, grubConfig, word } from '../boot-loader/grub-config.ts';
import { copyGrubModules, embedGrubCore, GRUB_MODULES, type GrubCore, makeGrubCore } from '../boot-loader/grub-core.ts';
import { GRUB_ENVIRONMENT, grubArtwork, grubState } from '../boot-loader/grub-files.ts';
import { type FatFile, readFat, writeFatTree } from '../filesystem/fat.ts';
import { GRUB_MODULE, ROOT_FILESYSTEMS } from '../filesystem/root-filesystem.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { copyInside, writeInside } from '../host-files/inside-root.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { efiArchitecture, type Generation, readGeneration } from '../nix/bootspec.ts';
import type { GrubSettings } from '../nix/grub-settings.ts';
import { readLoaderSettings } from '../nix/loader-settings.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import {
  filesystemLabel,
  generations,
  menuTimeout,
  partitionedDisk,
  path,
  TIMEOUT_STYLES,
  timestamp,
} from '../spec/fields.ts';

const STEP = 'installGrub';

const schema = z.object({
  /** A raw disk image with partitions. */
  image: path,
  /** The result of partitionDisk. The FATs of /boot and of the ESP must exist (makeBootFilesystem). */
  disk: partitionedDisk,
  /** The firmware that will boot it. If empty, only the menu is written, for a loader that reads it from elsewhere. */
  firmware: z.array(z.enum(['bios', 'efi'])).readonly(),
  /** The staged root directory, into which `boot/grub` is written if the layout has no partition for /boot. */
  stagedRoot: path,
  /** The UUID that the root filesystem has or will have. */
  rootUuid: z.string().regex(/^[0-9A-Fa-f-]+$/, 'must be the UUID of the root filesystem'),
  /** The label of the root filesystem, by which systems with `boot.loader.grub.fsIdentifier = "label"` find it. */
  rootLabel: filesystemLabel.optional(),
  /** The type of the root filesystem; default "ext4". */
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  /** The generations of the system profile; the last is the default. */
  generations,
  /** The directory of a private store; default: the host's store. */
  store: path.optional(),
  /** The store paths in the image, which must contain the kernels and initrds. Default: not checked. */
  storePaths: z.array(z.string()).readonly().optional(),
  /** The directory with GRUB's platforms (`i386-pc`, `x86_64-efi` …); default: `lib/grub` beside a directory of
   *  PATH. */
  grubDirectory: path.optional(),
  /** How long the menu waits; default: as the system is configured. */
  timeoutSeconds: menuTimeout.optional(),
  /** What the menu shows while it waits; default: as the system is configured. */
  timeoutStyle: z.enum(TIMEOUT_STYLES).optional(),
  /** Seconds since 1970 for files on a FAT, and for the entries' dates; default: now. */
  timestamp: timestamp.optional(),
});

const OLD_NAMES = { root: 'stagedRoot', grubFolder: 'grubDirectory' } as const;

export type InstallGrubOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface InstalledGrub {
  /** The size of the BIOS core image, and of the space for it; undefined without BIOS. */
  readonly core: { readonly sizeBytes: number; readonly availableBytes: number } | undefined;
  /** Files on the boot partition, or in the root's /boot, with paths below `/boot`. */
  readonly bootFiles: readonly string[];
}

/** Installs GRUB into an image, from the systems' boot.json and the settings of their own installer
 *  (`boot.loader.grub`, read from the closure). Needs no VM and no root, and runs none of the system's code.
 *
 *  For BIOS, it writes the core image into the gap after an MBR or into the BIOS boot partition, and the boot sector
 *  that loads it. For EFI, it writes the loader to the removable media path, and also to the loader's own directory
 *  unless the system is configured for the removable path only. grub.cfg, modules, environment, state, fonts and
 *  pictures are where NixOS expects them (`/boot/grub`, and `/boot/kernels` where /boot is a separate filesystem), so
 *  that `nixos-rebuild boot` works in the machine. The menu is also shown on the kernel's serial console, unless the
 *  system configures GRUB's terminals.
 *  @throws {InvalidOptionsError} like installSystemdBoot.
 *  @throws {ImageTooSmallError} when the core image or the kernels do not fit: bytes needed and available.
 *  @throws {ToolMissingError} when grub-mkimage or the modules of a platform are missing.
 *  @see GNU GRUB manual, "BIOS installation", "Embedded configuration"; NixOS RFC 125. Runs: cat, cp, find, flock,
 *  grub-mkimage, mcopy, mdir, mmd. */
export const installGrub: Step<InstallGrubOptions, InstalledGrub> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['cat', 'cp', 'find', 'grub-mkimage', 'mcopy', 'mdir', 'mmd', 'flock'],
  where: 'host',
  async prepare(parsed) {
    await requireDisk(STEP, parsed.image, parsed.disk.partitions);
    const systems: Generation[] = [];
    for (const generation of parsed.generations) systems.push(await readGeneration(STEP, generation, parsed));
    const newest = systems.at(-1)?.systems[0];
    if (newest === undefined) throw new InvalidOptionsError(STEP, [{ path: 'generations', message: 'is empty' }]);
    checkPlaces(parsed);
    const { grub } = await readLoaderSettings(STEP, parsed.store ?? '/', newest.toplevel, 'grub');
    const { timeoutSeconds: timeout = grub.timeout, timeoutStyle = grub.timeoutStyle } = parsed;
    const settings: GrubSettings = { ...grub, timeout, timeoutStyle };
    const { artwork, files } = await grubArtwork(STEP, parsed.store ?? '/', settings);
    return { systems, newest, settings, artwork, pictures: files };
  },
  detail: ({ firmware }) => firmware.join(', '),
  async run(step, parsed, { systems, newest, settings, artwork, pictures }) {
    const { image, disk, store = '/', timestamp: time } = parsed;
    await using work = await makePrivateDirectory(dirname(resolve(image)));
    const bootPartition = disk.partitions.find(({ mountPoint }) => mountPoint === '/boot');
    const boot = await bootPlace(parsed, settings, bootPartition);
    const cores = await makeCores(step, parsed, settings, newest.system, boot, work.path);

    const { config, kernels } = grubConfig(systems, boot, settings, artwork, time ?? Date.now() / 1000);
    const ofSystem = (mountPoint: string): Promise<FatFile[]> =>
      copiedFiles(STEP, store, 'boot.loader.grub.extraFiles', settings.copies, mountPoint);
    const files = laterWins([
      { path: 'grub/grub.cfg', content: { text: config } },
      GRUB_ENVIRONMENT,
      ...grubState(settings),
      ...cores.modules,
      ...kernels,
      ...pictures,
      ...(await ofSystem('/boot')),
    ]);
    if (bootPartition === undefined) await writeIntoRoot(parsed.stagedRoot, files);
    else await writeFatTree(step, { image, offsetBytes: bootPartition.offsetBytes }, { directories: [], files }, time);

    const core = cores.bios === undefined ? undefined : await embedGrubCore(step, parsed, cores.bios);
    if (cores.efi !== undefined && disk.esp !== undefined) {
      const { core: loader, architecture } = cores.efi;
      const content = { source: loader.file, sizeBytes: loader.sizeBytes };
      const places = [
        `EFI/BOOT/BOOT${architecture.toUpperCase()}.EFI`,
        // Where grub-install puts it, for a boot entry in EFI variables.
        ...(settings.isConfigured && !settings.efiInstallAsRemovable
          ? [`EFI/${settings.bootloaderId}/grub${architecture}.efi`]
          : []),
      ];
      const { mountPoint } = disk.esp;
      const others = mountPoint === undefined || mountPoint === '/boot' ? [] : await ofSystem(mountPoint);
      await writeFatTree(
        step,
        { image, offsetBytes: disk.esp.offsetBytes },
        { directories: [], files: laterWins([...places.map((place) => ({ path: place, content })), ...others]) },
        time,
      );
    }
    return { core, bootFiles: files.map((file) => file.path).sort() };
  },
});

interface Cores {
  readonly bios: GrubCore | undefined;
  readonly efi: { readonly core: GrubCore; readonly architecture: string } | undefined;
  /** Every module of the platforms, for /boot/grub. */
  readonly modules: readonly FatFile[];
}

/** Makes the core image of each platform, which finds grub.cfg by itself, and collects the platform's modules. */
async function makeCores(
  step: StepRunner,
  { firmware, disk, fsType, grubDirectory }: z.output<typeof schema>,
  settings: GrubSettings,
  system: string,
  boot: BootPlace,
  work: string,
): Promise<Cores> {
  const prefix = `${boot.path}/grub`;
  const early = join(work, 'early.cfg');
  await writeFile(early, `search ${boot.search} --set=root\nset prefix=($root)${prefix}\n`);
  const modules = [...new Set([...GRUB_MODULES, GRUB_MODULE[fsType], ...settings.modules])];
  const files: FatFile[] = [];
  const make = async (platform: string, more: readonly string[]): Promise<GrubCore> => {
    const core = await makeGrubCore(step, platform, [...modules, ...more], prefix, early, grubDirectory);
    const directory = join(work, platform);
    await mkdir(directory);
    for (const name of await copyGrubModules(step, core.directory, directory)) {
      const source = join(directory, name);
      const { size: sizeBytes } = await stat(source);
      files.push({ path: `grub/${platform}/${name}`, content: { source, sizeBytes } });
    }
    return core;
  };
  const bios = firmware.includes('bios') ? await make('i386-pc', ['biosdisk']) : undefined;
  if (!firmware.includes('efi') || disk.esp === undefined) return { bios, efi: undefined, modules: files };
  // A 64-bit system may be configured for 32-bit firmware (boot.loader.grub.forcei686).
  const architecture = settings.grubTargetEfi === 'i386-efi' ? efiArchitecture('i686-linux') : efiArchitecture(system);
  if (architecture === undefined)
    throw new InvalidOptionsError(STEP, [
      { path: 'firmware', message: `efi: GRUB for EFI is not supported for ${system}` },
    ]);
  const core = await make(architecture.grub, ['efi_gop']);
  return { bios, efi: { core, architecture: architecture.name }, modules: files };
}

async function bootPlace(
  { image, rootUuid, rootLabel }: z.output<typeof schema>,
  { fsIdentifier, copyKernels }: GrubSettings,
  bootPartition: { readonly offsetBytes: number } | undefined,
): Promise<BootPlace> {
  const searchFor = (uuid: string, label: string | undefined): string =>
    fsIdentifier === 'label' && label !== undefined ? `--label ${word(label)}` : `--fs-uuid ${uuid}`;
  const storeSearch = searchFor(rootUuid, rootLabel);
  if (bootPartition === undefined) return { search: storeSearch, path: '/boot', storeSearch, copies: copyKernels };
  const { volumeId, label } = await readFat(STEP, { image, offsetBytes: bootPartition.offsetBytes });
  return { search: searchFor(volumeId, label === '' ? undefined : label), path: '', storeSearch, copies: true };
}

/** Writes files into /boot of the staged root. */
async function writeIntoRoot(stagedRoot: string, files: readonly FatFile[]): Promise<void> {
  const root = resolve(stagedRoot);
  for (const { path: name, content } of files) {
    const target = `/boot/${name}`;
    if ('text' in content) await writeInside(STEP, root, target, content.text);
    else await copyInside(STEP, root, target, content.source);
  }
  // Private, as NixOS's installer makes it, because the menu may contain passwords.
  await chmod(join(root, 'boot/grub'), 0o700);
}

function checkPlaces({ firmware, disk }: z.output<typeof schema>): void {
  const issues = [];
  if (firmware.includes('bios') && disk.table === 'gpt' && disk.biosGrub === undefined)
    issues.push({ path: 'firmware', message: 'bios: the GPT has no BIOS boot partition for the core image' });
  if (firmware.includes('bios') && disk.table === 'none')
    issues.push({ path: 'firmware', message: 'bios: without a partition table, there is no place for the core image' });
  if (firmware.includes('efi') && disk.esp === undefined)
    issues.push({ path: 'firmware', message: 'efi: there is no EFI system partition' });
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
}
