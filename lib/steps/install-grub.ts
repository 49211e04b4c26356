import { open, readFile, realpath, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { InvalidOptionsError, NoSpaceError, ToolMissingError, UnexpectedStateError } from '../errors.ts';
import { type FatFile, readFat, writeFatTree } from '../filesystem/fat.ts';
import { GRUB_MODULE, ROOT_FILESYSTEMS, type RootFilesystem } from '../filesystem/root-filesystem.ts';
import { writeInside } from '../inside-root.ts';
import { type BootFile, type Bootspec, efiArchitecture, type Generation, readGeneration } from '../nix/bootspec.ts';
import { makePrivateFolder } from '../private-output.ts';
import { generations, path, timeoutSeconds, timestamp } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { runStep, type StepContext, type StepRunner } from '../step.ts';
import { findTool, packageHint } from '../tools.ts';
import { SECTOR_BYTES } from '../units.ts';

const STEP = 'installGrub';

const partition = z.object({ offsetBytes: z.int().min(0), sizeBytes: z.int().positive() });
const diskPartition = partition.extend({ mountPoint: z.string().optional() });

const schema = z.object({
  image: path,
  disk: z.object({
    table: z.enum(['gpt', 'msdos', 'none']),
    partitions: z.array(diskPartition),
    esp: diskPartition.optional(),
    biosGrub: partition.optional(),
  }),
  firmware: z.array(z.enum(['bios', 'efi'])).min(1, 'must name bios, efi or both'),
  root: path,
  rootUuid: z.string().regex(/^[0-9A-Fa-f-]+$/, 'must be the UUID of the root filesystem'),
  fsType: z.enum(ROOT_FILESYSTEMS).default('ext4'),
  generations,
  store: path.optional(),
  storePaths: z.array(z.string()).optional(),
  grubFolder: path.optional(),
  timeoutSeconds: timeoutSeconds.default(5),
  timestamp: timestamp.optional(),
});

export interface InstallGrubOptions {
  /** A raw disk image, partitioned. */
  readonly image: string;
  /** What partitionDisk returned. A FAT that is /boot, and the ESP, must have been made (formatEsp). */
  readonly disk: {
    readonly table: 'gpt' | 'msdos' | 'none';
    readonly partitions: readonly {
      readonly offsetBytes: number;
      readonly sizeBytes: number;
      readonly mountPoint: string | undefined;
    }[];
    readonly esp?: { readonly offsetBytes: number; readonly sizeBytes: number } | undefined;
    readonly biosGrub?: { readonly offsetBytes: number; readonly sizeBytes: number } | undefined;
  };
  /** What it is to boot from: legacy BIOS, EFI, or both. */
  readonly firmware: readonly ('bios' | 'efi')[];
  /** The staged root folder: where the layout has no /boot of its own, `boot/grub` goes into it. */
  readonly root: string;
  /** The UUID that the root filesystem has, or will have. */
  readonly rootUuid: string;
  /** Of the root; default "ext4". */
  readonly fsType?: RootFilesystem | undefined;
  /** The generations of the system profile; the last is the default. */
  readonly generations: readonly { readonly number: number; readonly toplevel: string }[];
  /** A private store's folder; default: the host's store. */
  readonly store?: string | undefined;
  /** The closure in the image: what is booted must be in it. Default: not checked. */
  readonly storePaths?: readonly string[] | undefined;
  /** The folder with GRUB's platforms (`i386-pc`, `x86_64-efi` …); default: the one beside grub-mkimage. */
  readonly grubFolder?: string | undefined;
  /** How long the menu waits; default 5, as in NixOS. */
  readonly timeoutSeconds?: number | undefined;
  /** Seconds since 1970 for files on a FAT, and for the entries' dates; default: now. */
  readonly timestamp?: number | undefined;
}

export interface InstalledGrub {
  /** Bytes of the BIOS core image, and of the room it had; undefined without BIOS. */
  readonly core: { readonly sizeBytes: number; readonly availableBytes: number } | undefined;
  /** Files on the boot partition, or in the root's /boot, from `/boot`. */
  readonly bootFiles: readonly string[];
}

/** Modules that are in the core image, which so needs no other file than grub.cfg. */
const MODULES = [
  ...['part_gpt', 'part_msdos', 'fat', 'normal', 'configfile', 'search', 'search_fs_uuid', 'search_fs_file'],
  ...['search_label', 'linux', 'gzio', 'serial', 'terminal', 'echo', 'test', 'ls', 'cat', 'help', 'reboot', 'halt'],
  ...['minicmd', 'sleep', 'loadenv', 'all_video'],
];

/** Installs GRUB into an image from the systems' boot.json alone: no VM, no root, nothing of the system runs.
 *
 *  BIOS: the core image in the gap behind an MBR or in the BIOS boot partition, and the boot sector that loads it. EFI: the
 *  removable path. grub.cfg has an entry for each generation and specialisation, in NixOS's places (`/boot/grub`, and
 *  `/boot/kernels` where /boot is a filesystem of its own), so that `nixos-rebuild boot` in the machine carries on; it uses the
 *  serial console that the kernel is told of.
 *  @throws {InvalidOptionsError} as installSystemdBoot.
 *  @throws {NoSpaceError} when the core image is larger than its place, or the kernels than theirs: needed and available bytes.
 *  @throws {ToolMissingError} without grub-mkimage or the modules of a platform.
 *  @see GNU GRUB manual, "BIOS installation", "Embedded configuration"; NixOS RFC 125. Runs: grub-mkimage, mmd, mdir, mcopy. */
export async function installGrub(options: InstallGrubOptions, context?: StepContext): Promise<InstalledGrub> {
  const parsed = parseOptions(STEP, schema, options);
  const { image, disk, firmware, timestamp: time } = parsed;
  const root = resolve(parsed.root);
  const systems: Generation[] = [];
  for (const generation of parsed.generations) systems.push(await readGeneration(STEP, generation, parsed));
  const newest = systems.at(-1)?.systems[0];
  if (newest === undefined) throw new InvalidOptionsError(STEP, [{ path: 'generations', message: 'is empty' }]);
  checkPlaces(parsed);

  return runStep(STEP, context, firmware.join(', '), async (step) => {
    await using work = await makePrivateFolder(dirname(resolve(image)));
    const bootPartition = disk.partitions.find(({ mountPoint }) => mountPoint === '/boot');
    const boot: BootPlace =
      bootPartition === undefined
        ? { uuid: parsed.rootUuid, prefix: '/boot/grub', kernelsOn: parsed.rootUuid, copies: false }
        : await onPartition({ image, offsetBytes: bootPartition.offsetBytes });
    const { config, kernels } = grubConfig(systems, boot, parsed.timeoutSeconds, time ?? Date.now() / 1000);
    const files: FatFile[] = [{ path: 'grub/grub.cfg', content: { text: config } }, ...kernels];
    if (bootPartition === undefined) await writeInside(STEP, root, '/boot/grub/grub.cfg', config);
    else await writeFatTree(step, { image, offsetBytes: bootPartition.offsetBytes }, { folders: [], files }, time);

    const early = join(work.path, 'early.cfg');
    await writeFile(early, `search.fs_uuid ${boot.uuid} root\nset prefix=($root)${boot.prefix}\n`);
    const modules = [...MODULES, GRUB_MODULE[parsed.fsType]];
    const core = firmware.includes('bios')
      ? await embedCore(
          step,
          parsed,
          await makeCore(step, 'i386-pc', [...modules, 'biosdisk'], boot, early, parsed.grubFolder),
        )
      : undefined;
    if (firmware.includes('efi') && disk.esp !== undefined) {
      const architecture = efiArchitecture(newest.system);
      if (architecture === undefined)
        throw new InvalidOptionsError(STEP, [{ path: 'firmware', message: `${newest.system} has no EFI` }]);
      const loader = await makeCore(step, architecture.grub, [...modules, 'efi_gop'], boot, early, parsed.grubFolder);
      const name = `EFI/BOOT/BOOT${architecture.name.toUpperCase()}.EFI`;
      const content = { source: loader.file, sizeBytes: loader.sizeBytes };
      await writeFatTree(
        step,
        { image, offsetBytes: disk.esp.offsetBytes },
        { folders: [], files: [{ path: name, content }] },
        time,
      );
    }
    return { core, bootFiles: files.map((file) => file.path).sort() };
  });
}

/** Where grub.cfg is, and how the kernels are found. */
interface BootPlace {
  readonly uuid: string;
  readonly prefix: string;
  readonly kernelsOn: string;
  /** Whether kernels are copied beside grub.cfg; else GRUB reads them from the store. */
  readonly copies: boolean;
}

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

/** The menu. @see GNU GRUB manual, "Writing full configuration files directly" */
function grubConfig(
  systems: readonly Generation[],
  boot: BootPlace,
  timeout: number,
  builtAt: number,
): { readonly config: string; readonly kernels: FatFile[] } {
  const kernels = new Map<string, FatFile>();
  const place = (file: BootFile): string => {
    if (!boot.copies) return file.path;
    // NixOS's installer names the copies by the whole path in the store.
    const target = `kernels/${file.path.slice('/nix/store/'.length).replaceAll('/', '-')}`;
    kernels.set(target, { path: target, content: file });
    return `/${target}`;
  };
  const entry = (title: string, indent: string, { kernel, initrd, init, kernelParams }: Bootspec): string[] =>
    [
      `menuentry ${quote(title)} --class nixos --unrestricted {`,
      `  search --no-floppy --set=drive1 --fs-uuid ${boot.kernelsOn}`,
      `  linux ($drive1)${place(kernel)} ${[`init=${init}`, ...kernelParams].map(word).join(' ')}`,
      ...(initrd === undefined ? [] : [`  initrd ($drive1)${place(initrd)}`]),
      '}',
    ].map((line) => `${indent}${line}`);
  const newestFirst = [...systems].reverse();
  const [newest, ...older] = newestFirst;
  const titled = ({ number, systems: [own] }: Generation): string =>
    `NixOS - Configuration ${number} (${new Date(builtAt * 1000).toISOString().slice(0, 10)} - ${own.label})`;
  const lines = [
    ...serialConsole(newest?.systems[0].kernelParams ?? []),
    'set default=0',
    `set timeout=${timeout}`,
    ...(newest?.systems ?? []).flatMap((system) =>
      entry(`NixOS - ${system.specialisation === undefined ? 'Default' : `(${system.specialisation})`}`, '', system),
    ),
    ...(older.length === 0
      ? []
      : [
          'submenu "NixOS - All configurations" {',
          ...newestFirst.flatMap((generation) =>
            generation.systems.flatMap((system) =>
              entry(
                system.specialisation === undefined
                  ? titled(generation)
                  : `${titled(generation)} (${system.specialisation})`,
                '  ',
                system,
              ),
            ),
          ),
          '}',
        ]),
  ];
  return { config: `${lines.join('\n')}\n`, kernels: [...kernels.values()] };
}

/** The menu on the serial port that is the kernel's console, besides the screen: `console=ttyS1,115200n8`. */
function serialConsole(kernelParams: readonly string[]): string[] {
  const [, unit, speed = '115200'] =
    kernelParams
      .map((parameter) => /^console=ttyS(\d+)(?:,(\d+))?/.exec(parameter))
      .findLast((match) => match !== null) ?? [];
  if (unit === undefined) return [];
  return [`serial --unit=${unit} --speed=${speed}`, 'terminal_input serial console', 'terminal_output serial console'];
}

function quote(text: string): string {
  return `"${text.replace(/["\\$]/g, '\\$&')}"`;
}

/** A word of the kernel's command line as GRUB's parser takes it. */
function word(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

interface Core {
  readonly file: string;
  readonly folder: string;
  readonly sizeBytes: number;
}

async function makeCore(
  step: StepRunner,
  platform: string,
  modules: readonly string[],
  boot: BootPlace,
  early: string,
  grubFolder: string | undefined,
): Promise<Core> {
  const folder = join(grubFolder ?? (await defaultGrubFolder()), platform);
  const missing = await readFile(join(folder, 'moddep.lst'))
    .then(() => false)
    .catch(() => true);
  if (missing)
    throw new ToolMissingError(STEP, `GRUB for ${platform}`, {
      hint: `${folder} has none; ${packageHint(platform)}`,
    });
  const file = join(dirname(early), `${platform}.img`);
  await step.run(
    ['grub-mkimage', '-d', folder, '-O', platform, '-o', file, '-p', boot.prefix, '-c', early, ...modules],
    { what: `cannot make GRUB's core image for ${platform}` },
  );
  return { file, folder, sizeBytes: (await readFile(file)).length };
}

/** `…/lib/grub` of the installation that grub-mkimage belongs to. */
async function defaultGrubFolder(): Promise<string> {
  const tool = await findTool('grub-mkimage');
  if (tool === undefined) throw new ToolMissingError(STEP, 'grub-mkimage', { hint: packageHint('grub-mkimage') });
  return join(dirname(dirname(await realpath(tool))), 'lib/grub');
}

/** Offsets in boot.img and in the core image's first sector. @see GRUB's boot.S and diskboot.S */
const BOOT_CODE_BYTES = 440;
const KERNEL_SECTOR_AT = 0x5c;
const BOOT_DRIVE_AT = 0x64;
const DRIVE_CHECK_AT = 0x66;
const BLOCK_LIST_AT = 0x1f4;
const CORE_SEGMENT = 0x820;

/** Writes the core image behind the MBR or into the BIOS boot partition, and the boot code that loads it. */
async function embedCore(
  step: StepRunner,
  { image, disk }: z.output<typeof schema>,
  { file, folder }: Core,
): Promise<{ readonly sizeBytes: number; readonly availableBytes: number }> {
  const [core, boot] = await Promise.all([readFile(file), readFile(join(folder, 'boot.img'))]);
  const firstPartition = Math.min(...disk.partitions.map(({ offsetBytes }) => offsetBytes));
  const place = disk.biosGrub ?? { offsetBytes: SECTOR_BYTES, sizeBytes: firstPartition - SECTOR_BYTES };
  if (core.length > place.sizeBytes)
    throw new NoSpaceError(
      STEP,
      disk.biosGrub === undefined ? 'the gap behind the MBR' : 'the BIOS boot partition',
      { neededBytes: core.length, availableBytes: place.sizeBytes },
      { hint: "GRUB's core image goes there" },
    );
  if (boot.length < SECTOR_BYTES || core.length < 2 * SECTOR_BYTES)
    throw new UnexpectedStateError(STEP, `${folder} has no GRUB for BIOS`, {
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
      throw new UnexpectedStateError(STEP, `${basename(image)} has no partition table`, {
        expected: '0x55 0xaa at byte 510',
      });
  } finally {
    await handle.close();
  }
  step.note(`core image: ${core.length} of ${place.sizeBytes} bytes at sector ${sector}`);
  return { sizeBytes: core.length, availableBytes: place.sizeBytes };
}
