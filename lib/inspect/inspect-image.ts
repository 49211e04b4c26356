import { resolve } from 'node:path';
import { z } from 'zod';
import { ROOT_FILESYSTEMS } from '../filesystem/root-filesystem.ts';
import { type DiskFormat, IMAGE_FORMATS } from '../formats/image-formats.ts';
import type { SecureBootKeys } from '../formats/secure-boot/trust.ts';
import { readPassphrase } from '../host-files/disk-secrets.ts';
import { type DiskImageFacts, inspectDiskImage } from '../programs/disk-image-format.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import type { StepRunner } from '../run/step.ts';
import { path } from '../spec/fields.ts';
import { MIB } from '../units.ts';
import { askProgram } from './ask-program.ts';
import { type BiosBoot, readBiosBoot } from './bios-boot.ts';
import { Budget, DEEP_BUDGET_MS, DEFAULT_BUDGET_MS } from './budget.ts';
import { checkFilesystems } from './deep-check.ts';
import { type EfiArchitecture, type EfiBoot, readEfiBoot } from './efi-boot.ts';
import { type FoundEncryption, inspectEncryption, type OpenedPlace } from './encryption.ts';
import { type FoundFilesystem, readFilesystem } from './filesystems.ts';
import { type Finding, fewOfEach, finding } from './finding.ts';
import { type Generation, NO_NIX, readNix } from './generations.ts';
import { ContainerDamaged, type ImageReader, openImage } from './image-reader.ts';
import type { InspectedPartition } from './inspected-partition.ts';
import { type FoundTable, readPartitionTable } from './partition-tables.ts';
import { readSecureBootKeys } from './secure-boot.ts';

const STEP = 'inspectImage';

const schema = z.object({
  /** A disk image. It is only read. */
  image: path,
  /** Default: detected from the file's magic number. */
  format: z.enum(IMAGE_FORMATS).exclude(['qcow2-compressed']).optional(),
  /** The architecture of the firmware that will boot it; default: one for which the image has a loader, "x64" first. */
  architecture: z.enum(['x64', 'aa64']).optional(),
  /** A store of EFI variables, such as OVMF_VARS.fd: every EFI program is judged by the Secure Boot keys in it. */
  efiVariables: path.optional(),
  /** A file with the passphrase of the image's LUKS2 partitions, to inspect the filesystems in them. */
  passphraseFile: path.optional(),
  /** Check each filesystem with its checker, on a copy in the directory for temporary files. Default false. */
  deep: z.boolean().default(false),
  /** Time limit in milliseconds, after which the rest is skipped, with a finding. Default 60,000; with `deep`
   *  600,000. */
  timeoutMs: z.number().positive().optional(),
});

export interface InspectImageOptions extends z.input<typeof schema> {}

/** The content of a disk image. */
export interface ImageInspection {
  /** Absolute path. */
  readonly image: string;
  readonly format: DiskFormat;
  readonly virtualBytes: number;
  readonly table: 'gpt' | 'msdos' | 'none';
  /** The sector size that a machine must provide for this disk. */
  readonly sectorBytes: 512 | 4096;
  readonly diskId: string | undefined;
  readonly partitions: readonly InspectedPartition[];
  /** The filesystem on the whole disk, if there is no partition table. */
  readonly filesystem: FoundFilesystem | undefined;
  /** The LUKS2 header of the whole disk, if there is no partition table. */
  readonly encryption: FoundEncryption | undefined;
  /** The firmware that the image is made for, even if it cannot boot. */
  readonly firmware: readonly ('bios' | 'efi')[];
  readonly bios: BiosBoot;
  readonly efi: EfiBoot;
  /** Whether the default entry of the loader has a serial console in its kernel parameters; undefined if unknown. */
  readonly serialConsole: boolean | undefined;
  /** The generations of a NixOS system on an ext4, by number; empty if there is none. */
  readonly generations: readonly Generation[];
  /** The number of paths in the Nix store on an ext4; undefined if there is none. */
  readonly storePaths: number | undefined;
  /** All problems that can be found without booting, for the firmware that the image is made for. `bios` and `efi` have
   *  those of each firmware. */
  readonly findings: readonly Finding[];
}

/** Inspects a disk image of any format without booting it or writing to it: its partition table, its filesystems, and
 *  the files that firmware and loader start. The image is not trusted: sizes are limited, and what remains after
 *  `timeoutMs` is skipped.
 *  @throws {InvalidOptionsError} when the file is not a disk image; {ToolFailedError} when a program is killed or exits
 *  with an undocumented status. Runs: blkid, btrfs, cryptsetup, e2fsck, flock, fsck.erofs, fsck.f2fs, fsck.vfat, qemu-img,
 *  xfs_repair. */
export const inspectImage: Step<InspectImageOptions, ImageInspection> = defineStep({
  name: STEP,
  options: schema,
  runs: [
    'blkid',
    'cryptsetup',
    'flock',
    'qemu-img',
    'e2fsck',
    'fsck.vfat',
    'btrfs',
    'xfs_repair',
    'fsck.erofs',
    'fsck.f2fs',
  ],
  where: 'host',
  detail: ({ image }) => resolve(image),
  async prepare({ efiVariables, passphraseFile }) {
    return {
      keys: efiVariables === undefined ? undefined : await readSecureBootKeys(STEP, efiVariables),
      passphrase:
        passphraseFile === undefined ? undefined : await readPassphrase(STEP, passphraseFile, 'passphraseFile'),
    };
  },
  async run(step, { image: file, format, architecture, deep, ...given }, { keys, passphrase }) {
    const { timeoutMs = deep ? DEEP_BUDGET_MS : DEFAULT_BUDGET_MS } = given;
    const facts = await inspectDiskImage(file, format, step.executor, step.signal);
    using budget = new Budget(STEP, step.signal, timeoutMs);
    const inContainer = await budget.part(`the tables of the ${facts.format}`, [], () =>
      containerFindings(step, budget, facts),
    );
    if (inContainer.some(({ severity }) => severity === 'fatal')) return unreadable(facts, inContainer);
    await using image = await openImage(step, budget, facts);
    try {
      const found = await inspectDisk(step, budget, image, facts, { architecture, deep, keys, passphrase });
      // If the disk cannot boot, the damage of the container is the cause.
      const isFatal = found.findings.some(({ severity }) => severity === 'fatal');
      const container = isFatal ? inContainer.map((one) => ({ ...one, severity: 'fatal' as const })) : inContainer;
      return { ...found, findings: [...container, ...found.findings] };
    } catch (error) {
      if (!(error instanceof ContainerDamaged)) throw error;
      // A machine may never read the damaged part, but it begins with the first sectors.
      const severity = error.offsetBytes < MIB ? 'fatal' : 'error';
      return unreadable(facts, [damagedContainer(facts, error.message, severity)]);
    }
  },
});

interface InspectDiskOptions extends Pick<InspectImageOptions, 'architecture' | 'deep'> {
  readonly keys: SecureBootKeys | undefined;
  readonly passphrase: Buffer | undefined;
}

async function inspectDisk(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  facts: DiskImageFacts,
  { architecture, deep, keys, passphrase }: InspectDiskOptions,
): Promise<ImageInspection> {
  const found = await budget.part('the partition table', NO_TABLE, () => readPartitionTable(image, budget));
  const filesystemAt = (part: Place): Promise<FoundFilesystem | undefined> =>
    budget.part('filesystems', undefined, () => readFilesystem(step, budget, image, part));
  const partitions: InspectedPartition[] = [];
  for (const part of found.partitions) {
    const isReadable = part.offsetBytes < image.virtualBytes && part.sizeBytes > 0;
    const hasFilesystem = isReadable && part.purpose !== 'bios-grub' && part.purpose !== 'extended';
    const filesystem = hasFilesystem ? await filesystemAt(part) : undefined;
    partitions.push({ ...part, filesystem, encryption: undefined });
  }
  const whole = wholeDisk(image.virtualBytes);
  const filesystem = found.table === 'none' ? await filesystemAt(whole) : undefined;
  const outer = found.table === 'none' ? [{ ...whole, filesystem, encryption: undefined }] : partitions;
  await using encrypted = await inspectEncryption(step, budget, image, outer, passphrase);
  const places = encrypted.places;
  const bios = await budget.part('the boot sector', NO_BIOS, () => readBiosBoot(image, found));
  const efi = await budget.part('EFI boot loaders', noEfi(architecture), () =>
    readEfiBoot(image, budget, found, places, bios.loader === 'grub', { architecture, keys }),
  );
  const opened = [...places.map((place) => ({ image, place })), ...encrypted.opened];
  const nix = await nixOf(budget, opened);
  const checked: Finding[] = [];
  if (deep === true)
    for (const one of opened) checked.push(...(await checkFilesystems(step, budget, one.image, [one.place])));
  const forEfi = efi.architectures.length > 0 || found.partitions.some(({ purpose }) => purpose === 'esp');
  const forBios =
    bios.loader === 'grub' ||
    found.partitions.some(({ purpose }) => purpose === 'bios-grub') ||
    (found.table === 'msdos' && (bios.loader !== 'none' || !forEfi));
  const firmware = [...(forBios ? (['bios'] as const) : []), ...(forEfi ? (['efi'] as const) : [])];
  // Firmware does not boot an image that is only a root filesystem; a host starts it with its own loader or kernel.
  const isForHost = found.table === 'none' && filesystem !== undefined && isRootFilesystem(filesystem.type);
  const isConcerned = (at: Finding['firmware']): boolean =>
    at === undefined || (firmware.length === 0 && !isForHost) || firmware.some((one) => one === at);
  return {
    ...{ image: facts.file, format: facts.format, virtualBytes: facts.virtualBytes },
    ...{ table: found.table, sectorBytes: found.sectorBytes, diskId: found.diskId },
    ...{ partitions: found.table === 'none' ? [] : places, filesystem, firmware, bios, efi },
    encryption: found.table === 'none' ? places[0]?.encryption : undefined,
    serialConsole: efi.serialConsole,
    ...{ generations: nix.generations, storePaths: nix.storePaths },
    findings: [
      ...found.findings,
      ...[...bios.findings, ...efi.findings].filter((at) => isConcerned(at.firmware)),
      ...fewOfEach(places.flatMap((part) => part.filesystem?.findings ?? [])),
      ...fewOfEach(partitions.flatMap(nothingThere)),
      ...encrypted.findings,
      ...[...nix.findings, ...checked, ...budget.findings],
    ],
  };
}

function isRootFilesystem(type: string): boolean {
  return ROOT_FILESYSTEMS.some((one) => one === type);
}

type Place = Pick<InspectedPartition, 'number' | 'offsetBytes' | 'sizeBytes'>;

/** The whole disk as partition 0, for a disk without a partition table. */
function wholeDisk(sizeBytes: number): Omit<InspectedPartition, 'filesystem' | 'encryption'> {
  return {
    ...{ number: 0, startSectors: 0, sizeSectors: 0, offsetBytes: 0, sizeBytes },
    ...{ type: '', typeName: undefined, purpose: undefined, name: '', partitionUuid: '', attributes: [] },
  };
}

/** Reads the generations of the first ext4 with a Nix store. */
async function nixOf(budget: Budget, opened: readonly OpenedPlace[]): Promise<typeof NO_NIX> {
  const findings: Finding[] = [];
  for (const { image, place } of opened)
    if (place.filesystem?.type === 'ext4' && place.offsetBytes + place.sizeBytes <= image.virtualBytes) {
      const found = await budget.part(`the generations of partition ${place.number}`, NO_NIX, () =>
        readNix(budget, image, place),
      );
      findings.push(...found.findings);
      if (found.storePaths !== undefined) return { ...found, findings };
    }
  return { ...NO_NIX, findings: fewOfEach(findings) };
}

const NO_TABLE: FoundTable = {
  ...{ table: 'none', diskId: undefined, sectorBytes: 512, partitions: [], usable: undefined, findings: [] },
};
const NO_BIOS: BiosBoot = { loader: 'none', findings: [] };

function noEfi(architecture: EfiArchitecture | undefined): EfiBoot {
  return {
    ...{ architecture: architecture ?? 'x64', architectures: [], loaders: [], started: undefined, programs: [] },
    ...{ bootEntries: [], entries: [], serialConsole: undefined, findings: [] },
  };
}

function unreadable(facts: DiskImageFacts, findings: readonly Finding[]): ImageInspection {
  return {
    ...{ image: facts.file, format: facts.format, virtualBytes: facts.virtualBytes, table: 'none', sectorBytes: 512 },
    ...{
      diskId: undefined,
      partitions: [],
      filesystem: undefined,
      encryption: undefined,
      firmware: [],
      bios: NO_BIOS,
      efi: noEfi(undefined),
    },
    ...{ serialConsole: undefined, generations: [], storePaths: undefined, findings },
  };
}

function nothingThere({ number, purpose, filesystem }: InspectedPartition): Finding[] {
  if (purpose !== 'linux' || filesystem !== undefined) return [];
  const message = `partition ${number} has a type for Linux filesystems, but contains no known filesystem`;
  return [finding('no-filesystem', 'warning', 'stage 1', message, undefined)];
}

/** Checks the tables of a container format. Exit status 2 means that they are damaged, 1 that the check failed, 3 that
 *  there are leaked clusters, 63 that the format does not support checks. @see qemu-img(1) check */
async function containerFindings(step: StepRunner, budget: Budget, facts: DiskImageFacts): Promise<Finding[]> {
  const { file, format } = facts;
  if (format === 'raw') return [];
  const { exitCode, stdout, stderr } = await askProgram(step, budget, ['qemu-img', 'check', '-U', '-f', format, file], {
    answers: [0, 1, 2, 3, 63],
    maxBytes: 64 * 1024,
    what: `cannot check ${file}`,
  });
  if (exitCode !== undefined && exitCode !== 1 && exitCode !== 2) return [];
  const lines = `${stderr}${stdout.toString('utf8')}`.trim().split('\n');
  // Of a long output, only the end is kept, which may begin in the middle of a line.
  const said = lines.find((line) => /^(?:ERROR|qemu-img)\b/.test(line)) ?? lines[0] ?? '';
  if (lines.some((line) => line.includes('exceeding the end of the file')))
    return [damagedContainer(facts, `a part of it is missing: ${said}`, 'fatal')];
  // Otherwise, status 2 may be only wrong reference counts, with which the disk can be read.
  return [damagedContainer(facts, said, exitCode === 2 ? 'error' : 'fatal')];
}

function damagedContainer({ format }: DiskImageFacts, said: string, severity: Finding['severity']): Finding {
  return finding('container-damaged', severity, 'firmware', `the ${format} is damaged: ${said}`, undefined);
}
