import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { copiedFiles, laterWins } from '../boot-loader/copied-files.ts';
import { loaderConf, loaderEntries } from '../boot-loader/systemd-boot-config.ts';
import { type FatFile, writeFatTree } from '../filesystem/fat.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { type Bootspec, efiArchitecture, type Generation, readGeneration } from '../nix/bootspec.ts';
import { readLoaderSettings } from '../nix/loader-settings.ts';
import { resolveInStore } from '../nix/store.ts';
import type { SystemdBootSettings } from '../nix/systemd-boot-settings.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { CONSOLE_MODES, generations, menuTimeout, partitionExtent, path, timestamp } from '../spec/fields.ts';

const STEP = 'installSystemdBoot';

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The EFI system partition, in bytes. Its FAT must exist (makeBootFilesystem). */
  esp: partitionExtent,
  /** The XBOOTLDR partition for kernels and entries, in bytes; default: they are on the ESP. */
  xbootldr: partitionExtent.optional(),
  /** The generations of the system profile; the last is the default. */
  generations,
  /** The directory of a private store; default: the host's store. */
  store: path.optional(),
  /** The store paths in the image, which must contain the kernels and initrds. Default: not checked. */
  storePaths: z.array(z.string()).readonly().optional(),
  /** The loader's .efi file; default: that of the system's systemd. */
  systemdBoot: path.optional(),
  /** How long the menu waits; default: as the system is configured. */
  timeoutSeconds: menuTimeout.optional(),
  /** Whether kernel parameters can be edited in the menu; default: as the system is configured. */
  editor: z.boolean().optional(),
  /** Default: as the system is configured. @see loader.conf(5) */
  consoleMode: z.enum(CONSOLE_MODES).optional(),
  /** The machine ID for the entries: 32 hexadecimal digits, as in /etc/machine-id. Default: none. */
  machineId: z
    .string()
    .regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits')
    .optional(),
  /** Seconds since 1970 for the files' times and the entries' dates; default: now. */
  timestamp: timestamp.optional(),
});

export interface InstallSystemdBootOptions extends z.input<typeof schema> {}

export interface InstalledSystemdBoot {
  /** Files on the ESP and on XBOOTLDR, with paths from their roots. */
  readonly esp: readonly string[];
  readonly xbootldr: readonly string[];
  /** The entry that boots by default. */
  readonly defaultEntry: string;
}

/** Installs systemd-boot into the ESP of an image, with an entry for each generation and specialisation, from their
 *  boot.json and the settings of their own installer (`boot.loader.systemd-boot`, read from the closure). Needs no VM
 *  and no root, and runs none of the system's code. All files have the same paths and names as those of NixOS's
 *  installer, so that `nixos-rebuild boot` works in the machine. `loader/random-seed` is not written, because all
 *  machines of the image would share it; systemd creates one at the first boot.
 *  @throws {InvalidOptionsError} for a boot.json that is missing, malformed, of another version, or points outside the
 *  closure; for initrdSecrets, which require the system's code to run; for NixOS options that only the system's own
 *  installer supports; for a system without systemd-boot.
 *  @throws {ImageTooSmallError} when kernel and initrd do not fit: bytes needed and available.
 *  @see NixOS RFC 125; the Boot Loader Specification; bootctl(1). Runs: flock, mcopy, mdir, mmd. */
export const installSystemdBoot: Step<InstallSystemdBootOptions, InstalledSystemdBoot> = defineStep({
  name: STEP,
  options: schema,
  runs: ['mmd', 'mdir', 'mcopy', 'flock'],
  where: 'host',
  async prepare(parsed) {
    const { image, esp, xbootldr, store, storePaths } = parsed;
    await requireDisk(STEP, image, [esp, ...(xbootldr === undefined ? [] : [xbootldr])]);
    const systems: Generation[] = [];
    for (const generation of parsed.generations)
      systems.push(await readGeneration(STEP, generation, { store, storePaths }));
    const newest = systems.at(-1);
    if (newest === undefined) throw new InvalidOptionsError(STEP, [{ path: 'generations', message: 'is empty' }]);
    const loader = parsed.systemdBoot ?? (await findLoader(newest.systems[0], store ?? '/'));
    const architecture = efiArchitecture(newest.systems[0].system);
    if (architecture === undefined) throw noLoader(newest.systems[0]);
    const { toplevel } = newest.systems[0];
    const { systemdBoot } = await readLoaderSettings(STEP, store ?? '/', toplevel, 'systemd-boot');
    const { timeoutSeconds: timeout = systemdBoot.timeout, editor = systemdBoot.editor } = parsed;
    const { consoleMode = systemdBoot.consoleMode } = parsed;
    const settings: SystemdBootSettings = { ...systemdBoot, timeout, editor, consoleMode };
    return { systems, newest, loader, architecture, settings };
  },
  detail: (_, { newest }) => newest.systems[0].label,
  async run(step, parsed, { systems, loader, architecture, settings }) {
    const { image, esp, xbootldr, store = '/', timestamp: time } = parsed;
    const binary = await readFile(loader).catch((cause: unknown) => {
      throw new InvalidOptionsError(STEP, [{ path: 'systemdBoot', message: `${loader} cannot be read` }], { cause });
    });
    const entries = loaderEntries(systems, settings, {
      machineId: parsed.machineId,
      builtAt: time ?? Date.now() / 1000,
    });
    const { espMountPoint, bootMountPoint } = settings;
    const ofSystem = (mountPoint: string): Promise<FatFile[]> =>
      copiedFiles(STEP, store, 'boot.loader.systemd-boot.extraFiles', settings.copies, mountPoint);
    const onEsp = laterWins([
      { path: `EFI/systemd/systemd-boot${architecture.name}.efi`, content: { text: binary } },
      { path: `EFI/BOOT/BOOT${architecture.name.toUpperCase()}.EFI`, content: { text: binary } },
      // Declares that the directory loader/entries has entries of type 1 of the specification.
      { path: 'loader/entries.srel', content: { text: 'type1\n' } },
      { path: 'loader/loader.conf', content: { text: loaderConf(settings, entries.defaultEntry) } },
      ...(espMountPoint === bootMountPoint ? [] : await ofSystem(espMountPoint)),
    ]);
    const onBoot = laterWins([...entries.files, ...(await ofSystem(bootMountPoint))]);
    const { defaultEntry } = entries;
    const directories = ['EFI/Linux', 'EFI/nixos/.extra-files', 'loader/entries'];
    const at = (partition: typeof esp) => ({ image, offsetBytes: partition.offsetBytes });
    const names = (files: readonly FatFile[]): string[] => files.map((file) => file.path).sort();
    if (xbootldr === undefined) {
      const files = laterWins([...onEsp, ...onBoot]);
      await writeFatTree(step, at(esp), { directories, files }, time);
      return { esp: names(files), xbootldr: [], defaultEntry };
    }
    // The marker file must be on the partition that has the entries.
    const marker = onEsp.filter((file) => file.path === 'loader/entries.srel');
    const espFiles = onEsp.filter((file) => !marker.includes(file));
    const bootPartitionFiles = [...marker, ...onBoot];
    await writeFatTree(step, at(esp), { directories: [], files: espFiles }, time);
    await writeFatTree(step, at(xbootldr), { directories, files: bootPartitionFiles }, time);
    return { esp: names(espFiles), xbootldr: names(bootPartitionFiles), defaultEntry };
  },
});

async function findLoader(system: Bootspec, store: string): Promise<string> {
  const name = efiArchitecture(system.system)?.name;
  const found = await resolveInStore(store, `${system.toplevel}/systemd/lib/systemd/boot/efi/systemd-boot${name}.efi`);
  if (found === undefined) throw noLoader(system);
  return join(store, found);
}

function noLoader(system: Bootspec): InvalidOptionsError {
  return new InvalidOptionsError(
    STEP,
    [
      {
        path: 'systemdBoot',
        message: `systemd-boot for ${system.system} does not exist in ${system.toplevel}/systemd/lib/systemd/boot/efi`,
      },
    ],
    { hint: 'set systemdBoot to an .efi file, or use GRUB' },
  );
}
