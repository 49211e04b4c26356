import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DiskFormat, type DiskImageFacts, inspectDiskImage } from '../disk-image-format.ts';
import { runStep, type StepContext, type StepRunner } from '../step.ts';
import { type BiosBoot, readBiosBoot } from './bios-boot.ts';
import { type EfiArchitecture, type EfiBoot, readEfiBoot } from './efi-boot.ts';
import { type FoundFilesystem, readFilesystem } from './filesystems.ts';
import type { Finding } from './finding.ts';
import { type Generation, readNix } from './generations.ts';
import { type ImageReader, openImage } from './image-reader.ts';
import { type FoundPartition, readPartitionTable } from './partition-tables.ts';

const STEP = 'inspectImage';

export interface InspectImageOptions {
  readonly image: string;
  /** Default: told from the file's magic number. */
  readonly format?: DiskFormat | undefined;
  /** Of the firmware that is to boot it, as in the names of loaders; default: the one it has a loader for, "x64" first. */
  readonly architecture?: EfiArchitecture | undefined;
}

export interface InspectedPartition extends FoundPartition {
  readonly filesystem: FoundFilesystem | undefined;
}

/** What is on a disk image. */
export interface ImageInspection {
  /** Absolute path. */
  readonly image: string;
  readonly format: DiskFormat;
  readonly virtualBytes: number;
  readonly table: 'gpt' | 'msdos' | 'none';
  readonly diskId: string | undefined;
  readonly partitions: readonly InspectedPartition[];
  /** Of the whole disk, where there is no table. */
  readonly filesystem: FoundFilesystem | undefined;
  /** The firmware it is made to be booted by, whether it can or not. */
  readonly firmware: readonly ('legacy' | 'efi')[];
  readonly bios: BiosBoot;
  readonly efi: EfiBoot;
  /** Whether the kernels of the loaders' entries, as far as they can be read, are told of a serial console. */
  readonly serialConsole: boolean | undefined;
  /** Of the NixOS systems on an ext4, by number; empty where none is found. */
  readonly generations: readonly Generation[];
  /** Paths of the Nix store on an ext4; undefined where none is found. */
  readonly storePaths: number | undefined;
  /** Everything that is wrong with it, as far as it can be seen without booting, for the firmware it is made for. `bios` and
   *  `efi` have what stands in the way of each. */
  readonly findings: readonly Finding[];
}

/** Looks at a disk image of any format without booting or writing to it: partition table, filesystems, loaders.
 *  @throws {InvalidOptionsError} for what is no disk image.
 *  Runs: qemu-img, mdir, mtype, debugfs. */
export async function inspectImage(options: InspectImageOptions, context?: StepContext): Promise<ImageInspection> {
  const { architecture } = options;
  const facts = await inspectDiskImage(options.image, options.format, context?.executor);
  return runStep(STEP, context, facts.file, async (step) => {
    const work = await mkdtemp(join(tmpdir(), 'nixos-disk-image-inspect-'));
    try {
      const inContainer = await containerFindings(step, facts.file, facts.format);
      if (inContainer.length > 0) return unreadable(facts, inContainer);
      const image = openImage(step, facts, work);
      const found = await readPartitionTable(image);
      const partitions: InspectedPartition[] = [];
      for (const part of found.partitions) {
        const hasFilesystem = part.purpose !== 'bios-grub' && part.offsetBytes < image.virtualBytes;
        partitions.push({ ...part, filesystem: hasFilesystem ? await readFilesystem(image, part) : undefined });
      }
      const whole = { number: 0, offsetBytes: 0, sizeBytes: image.virtualBytes };
      const filesystem = found.table === 'none' ? await readFilesystem(image, whole) : undefined;
      const bios = await readBiosBoot(image, found);
      const efi = await readEfiBoot(step, image, found, architecture);
      const forEfi = efi.architectures.length > 0 || found.partitions.some(({ purpose }) => purpose === 'esp');
      const forBios =
        bios.loader === 'grub' ||
        found.partitions.some(({ purpose }) => purpose === 'bios-grub') ||
        (found.table === 'msdos' && (bios.loader !== 'none' || !forEfi));
      const firmware = [...(forBios ? (['legacy'] as const) : []), ...(forEfi ? (['efi'] as const) : [])];
      const inFilesystems = [filesystem, ...partitions.map((part) => part.filesystem)].flatMap(
        (at) => at?.findings ?? [],
      );
      return {
        ...{ image: facts.file, format: facts.format, virtualBytes: facts.virtualBytes },
        ...{ table: found.table, diskId: found.diskId, partitions, filesystem, firmware, bios, efi },
        serialConsole: efi.serialConsole,
        ...(await nixOf(step, image, [...partitions, { ...whole, filesystem }])),
        findings: [
          ...found.findings,
          ...[...bios.findings, ...efi.findings].filter(
            (finding) =>
              finding.firmware === undefined || firmware.length === 0 || firmware.some((at) => at === finding.firmware),
          ),
          ...inFilesystems,
          ...partitions.flatMap(nothingThere),
        ],
      };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
}

/** Of the first ext4 that has a Nix store. */
async function nixOf(
  step: StepRunner,
  image: ImageReader,
  places: readonly Pick<InspectedPartition, 'offsetBytes' | 'sizeBytes' | 'filesystem'>[],
): Promise<Pick<ImageInspection, 'generations' | 'storePaths'>> {
  for (const place of places)
    if (place.filesystem?.type === 'ext4' && place.offsetBytes + place.sizeBytes <= image.virtualBytes) {
      const found = await readNix(step, image, place);
      if (found !== undefined) return found;
    }
  return { generations: [], storePaths: undefined };
}

function unreadable(facts: DiskImageFacts, findings: readonly Finding[]): ImageInspection {
  return {
    ...{ image: facts.file, format: facts.format, virtualBytes: facts.virtualBytes, table: 'none', diskId: undefined },
    ...{ partitions: [], filesystem: undefined, firmware: [], bios: { loader: 'none', findings: [] } },
    efi: { architecture: 'x64', architectures: [], loaders: [], entries: [], serialConsole: undefined, findings: [] },
    ...{ serialConsole: undefined, generations: [], storePaths: undefined, findings },
  };
}

function nothingThere({ number, purpose, filesystem }: InspectedPartition): Finding[] {
  if (purpose !== 'linux' || filesystem !== undefined) return [];
  const message = `partition ${number} is for Linux, and holds no filesystem that is known here`;
  return [{ name: 'no-filesystem', severity: 'warning', stage: 'stage 1', message }];
}

/** What qemu-img says of a container with tables of its own: 2 when they are damaged. @see qemu-img(1) check */
async function containerFindings(step: StepRunner, file: string, format: DiskFormat): Promise<Finding[]> {
  if (format !== 'qcow2' && format !== 'vdi') return [];
  const { exitCode, stdout, stderr } = await step.tryRun(['qemu-img', 'check', '-U', '-f', format, file]);
  if (exitCode === 0 || exitCode === 3) return [];
  const said = `${stderr.toString('utf8')}${stdout.toString('utf8')}`.trim().split('\n')[0] ?? '';
  return [
    { name: 'container-damaged', severity: 'fatal', stage: 'firmware', message: `the ${format} is damaged: ${said}` },
  ];
}
