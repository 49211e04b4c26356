import { randomUUID } from 'node:crypto';
import { chmod, mkdir, rename, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { PROGRAMS_OF } from '../filesystem/programs-of.ts';
import { type ImageFormat, imageFileName } from '../formats/image-formats.ts';
import { LUKS_HEADER_BYTES } from '../formats/luks.ts';
import { makePrivateDirectory, publishFile } from '../host-files/private-output.ts';
import { requireRoom } from '../host-files/room.ts';
import { DiskImageError, InvalidOptionsError } from '../run/errors.ts';
import { parseOptions } from '../run/parse-options.ts';
import { runStep, type StepContext, type StepEvent } from '../run/step.ts';
import { requireTool } from '../run/tools.ts';
import { path as pathField, timestamp as timestampField } from '../spec/fields.ts';
import { type ImageSpec, type ImageSpecInput, parseImageSpec } from '../spec/image-spec.ts';
import { computeDiskSize, type DiskSize } from '../steps/compute-disk-size.ts';
import { convertImage } from '../steps/convert-image.ts';
import type { EncryptedPartition } from '../steps/encrypt-partition.ts';
import { fillBootFilesystem } from '../steps/fill-boot-filesystem.ts';
import { type InstalledSystem, installSystem } from '../steps/install-system.ts';
import type { DiskPartition, PartitionedDisk } from '../steps/partition-disk.ts';
import { resolveOwners } from '../steps/resolve-owners.ts';
import { refuseInsideSource, stageContents } from '../steps/stage-contents.ts';
import { tuneFilesystem } from '../steps/tune-filesystem.ts';
import { writeConfigFile } from '../steps/write-config-file.ts';
import { SECTOR_BYTES } from '../units.ts';
import type { BuildContext } from './context.ts';
import type { Job } from './job.ts';
import { finishInBuilder } from './phases/builder.ts';
import { type JobWithoutDisk, makeDisk, requireMaxSize } from './phases/disk.ts';
import { makeEfiVariables } from './phases/efi-variables.ts';
import { encryptRoot, publishRecoveryKey } from './phases/encryption.ts';
import { layOutAgain } from './phases/lay-out-again.ts';
import { minimizeRoot, ROOM_TO_MEASURE } from './phases/minimize.ts';
import { takeMountedFiles } from './phases/mounted-files.ts';
import {
  type BuiltFilesystem,
  fillPartitions,
  measurePartitions,
  NO_ROOT,
  requireDiskSize,
  requireSources,
  withDiskBytes,
} from './phases/partitions.ts';
import { fillRoot, refuseLostAttributes } from './phases/root.ts';
import { enrollInVariables, signBootPartitions } from './phases/secure-boot.ts';
import { type BuildPlan, planBuild } from './plan.ts';

export interface BuildImageOptions extends ImageSpecInput {
  /** The directory for the image; created if it does not exist. */
  readonly outDir: string;
}

export interface BuiltImage {
  /** Absolute path. */
  readonly image: string;
  readonly format: ImageFormat;
  readonly virtualBytes: number;
  readonly allocatedBytes: number;
  readonly system: InstalledSystem;
  /** Undefined when diskSize was given. */
  readonly size: DiskSize | undefined;
  readonly disk: PartitionedDisk;
  /** The root's, or with a root in memory that of the partition with the store. */
  readonly filesystem: BuiltFilesystem;
  /** The LUKS header of the root; undefined without `encrypt`. */
  readonly encryption: EncryptedPartition | undefined;
  /** The store of EFI variables beside the image; undefined without touchEFIVars. */
  readonly efiVariables: string | undefined;
  readonly durationMs: number;
}

/** Builds a NixOS disk image from a system closure, like make-disk-image, by running the exported steps.
 *
 *  The image is made in a private directory in `outDir`, and renamed into place when it is complete. If the build
 *  fails, nothing is left behind, and an existing image of the same name stays unchanged.
 *  @throws {InvalidOptionsError} for an invalid specification, with all problems at once, before anything is written;
 *  also when it needs a builder and none was given.
 *  Runs: the programs of its steps. */
export async function buildImage(options: BuildImageOptions, outside: BuildContext = {}): Promise<BuiltImage> {
  const startedAt = performance.now();
  const { outDir: directory, ...input } = options;
  const spec = parseImageSpec(input);
  const { outDir } = parseOptions('buildImage', z.object({ outDir: pathField }), { outDir: directory });
  const timestamp = spec.reproducible ? sourceDateEpoch() : undefined;
  const plan = await planBuild(spec);
  if (outside.executor === undefined) for (const program of programsFor(spec)) await requireTool('buildImage', program);
  else if (outside.executor.seesHostFiles !== true)
    throw new InvalidOptionsError('buildImage', [
      { path: 'executor', message: `${outside.executor.name} does not see this host's files` },
    ]);
  if (plan.needsBuilder && outside.startBuilder === undefined)
    throw new InvalidOptionsError(
      'buildImage',
      [
        {
          path: 'bootLoaderFrom',
          message: "needs a builder VM to run the system's switch-to-configuration, but none was given",
        },
      ],
      {
        hint: 'use bootLoaderFrom "bootspec", or installBootLoader: false; or pass { startBuilder: startBuilderVm } from nixos-disk-image/harness as the second argument',
      },
    );
  if (spec.touchEFIVars && spec.efiVariables === undefined && outside.efiVariablesTemplate === undefined)
    throw new InvalidOptionsError(
      'buildImage',
      [{ path: 'efiVariables', message: 'is required with touchEFIVars: true: an empty store of EFI variables' }],
      {
        hint: 'set efiVariables, or pass { efiVariablesTemplate: async () => (await findUefiFirmware()).variablesTemplate }',
      },
    );
  // Unknown user names are reported before anything is written.
  const owners =
    plan.owners === 'declared'
      ? await resolveOwners({ toplevel: spec.toplevel, store: spec.store, contents: spec.contents }, outside)
      : [];

  const outDirectory = resolve(outDir);
  await refuseInsideSource('buildImage', spec.contents, outDirectory);
  await requireSources(spec, outDirectory, outside);
  const target = join(outDirectory, imageFileName(spec.baseName, spec.format));
  await using work = await makePrivateDirectory(outDirectory).catch((cause: unknown) => {
    // Then a program failed, not the directory.
    if (cause instanceof DiskImageError) throw cause;
    throw new InvalidOptionsError(
      'buildImage',
      [
        {
          path: 'outDir',
          message: `${outDirectory} cannot be written to: ${cause instanceof Error ? cause.message : cause}`,
        },
      ],
      { cause },
    );
  });
  // The path of the private directory is useless to the reader: it is removed when the build ends.
  const onEvent = (event: StepEvent): void => outside.onEvent?.(withoutDirectory(event, work.path));
  const context: BuildContext = { ...outside, onEvent };
  const root = join(work.path, 'root');
  const raw = join(work.path, 'disk.img');
  await mkdir(root);
  // Independent of the umask, because it becomes the root directory of the image.
  await chmod(root, 0o755);

  const staged = await stageContents({ stagedRoot: root, contents: spec.contents }, context);
  refuseLostAttributes(spec, plan, staged);
  const { toplevel: given, store, closureInfo, additionalPaths, channel } = spec;
  // With onlyNixStore, a system is installed as usual, but only its store is written into the image.
  const systemRoot = spec.onlyNixStore ? join(work.path, 'system') : root;
  const system = await installSystem(
    {
      ...{ root: systemRoot, toplevel: given, store, closureInfo, additionalPaths, channel, timestamp },
      copyClosure: plan.closure === 'copied',
    },
    context,
  );
  if (spec.configFile !== undefined) await writeConfigFile({ root, configFile: spec.configFile }, context);

  const atRoot = spec.onlyNixStore;
  const taken = await takeMountedFiles(spec, root, work.path);
  const everything = plan.closure === 'in place' ? { store, storePaths: system.storePaths, atRoot } : undefined;
  const { partitionTableType, bootSize, additionalSpace, fsType } = spec;
  const populateFrom = everything === undefined && atRoot ? join(systemRoot, 'nix/store') : root;
  const moreForRoot = spec.minimize ? ROOM_TO_MEASURE : 0;
  const encrypted = plan.encryption !== undefined;
  // Only the staged files change owners, because a target may be an existing directory such as /etc.
  const stagedOwners = owners.flatMap(({ uid, gid, index }) =>
    (staged.entries[index]?.staged ?? []).map((target) => ({ target, uid, gid })),
  );
  const sources = { root, taken, closure: everything, work: work.path, moreForRoot, owners: stagedOwners, timestamp };
  const partitions = await measurePartitions(spec, sources, context);
  const ofRoot = partitions.find(({ own }) => own.role === 'root');
  const hasRoot = spec.partitions === undefined || ofRoot !== undefined;
  const closure = spec.partitions === undefined ? everything : ofRoot?.closure;
  const size =
    spec.partitions === undefined
      ? await computeDiskSize(
          {
            ...{ stagedRoot: populateFrom, closure, partitionTableType, bootSize, fsType, encrypted },
            additionalSpace: additionalSpace + moreForRoot,
          },
          context,
        )
      : withDiskBytes(ofRoot?.size ?? NO_ROOT, partitions, encrypted);
  if (spec.partitions !== undefined) requireDiskSize(spec, size);
  const others = partitions.filter((one) => one !== ofRoot);
  const onHost = others.reduce(
    (sum, { size: { hostBytes } = NO_ROOT, packed }) => sum + (packed?.sizeBytes ?? hostBytes),
    bytesOnHost(size, spec),
  );
  await requireRoom('buildImage', outDirectory, onHost * copiesOf(spec, plan));
  const known: JobWithoutDisk = {
    spec,
    plan,
    root: populateFrom,
    raw,
    rootUuid: ofRoot?.own.filesystemUuid ?? (spec.deterministic ? spec.rootFSUID : randomUUID()),
    partitions,
    timestamp,
    system,
    closure,
    attributes: staged.attributes,
  };
  const make = async (of: DiskSize): Promise<{ job: Job; filesystem: BuiltFilesystem }> => {
    const job = await makeDisk(known, of, context);
    const filled = await fillPartitions(job, job.raw, stagedOwners, context);
    const { number = 0 } = job.disk.root;
    const filesystem = hasRoot ? await fillRoot(job, stagedOwners, context) : filled.get(number);
    if (filesystem === undefined) throw new RangeError('the partition with the store has no filesystem');
    return { job, filesystem };
  };
  if (!spec.minimize) await requireMaxSize(known, size, context);
  let made = await make(size);
  if (spec.minimize)
    made = await minimizeRoot(made.job, made.filesystem, work.path, context, async (ofContent) => {
      const least = ofRoot === undefined ? ofContent : withDiskBytes(ofContent, partitions, encrypted);
      await requireMaxSize(known, least, context);
      return make(least);
    });
  const { job } = made;
  const { disk } = job;
  let { filesystem } = made;
  let finishedRaw = raw;
  if (plan.needsBuilder && context.startBuilder !== undefined)
    await finishInBuilder(job, staged, context.startBuilder, context);
  for (const { number, directory } of taken) {
    const partition = disk.partitions.find((one) => one.number === number);
    if (partition?.label !== undefined)
      await fillBootFilesystem({ image: raw, partition, populateFrom: directory, timestamp }, context);
  }
  if (plan.needsBuilder && spec.reproducible) {
    finishedRaw = join(work.path, 'again.img');
    filesystem = await layOutAgain(job, finishedRaw, work.path, context);
  } else if (plan.needsBuilder || spec.populateRootWith === 'cptofs')
    for (const { offsetBytes } of [...(fsType === 'ext4' ? [job.rootPlace] : []), ...otherExt4(job)])
      await tuneFilesystem({ device: raw, offsetBytes }, context);

  if (plan.secureBoot !== undefined) await signBootPartitions(job, plan.secureBoot, finishedRaw, work.path, context);
  const efiVariables = spec.touchEFIVars ? join(outDirectory, 'efi-vars.fd') : undefined;
  if (efiVariables !== undefined) {
    const variables = join(work.path, 'efi-vars.fd');
    await makeEfiVariables(job, finishedRaw, variables, context);
    if (plan.secureBoot?.enroll === 'variables') await enrollInVariables(plan.secureBoot, variables, context);
  }
  const encryption = plan.encryption && (await encryptRoot(job, plan.encryption, finishedRaw, work.path, context));
  const finished = join(work.path, basename(target));
  const converted = await toFormat(spec.format, finishedRaw, finished, timestamp, context);
  await runPostVm(spec, finished, outDirectory, context);
  if (plan.encryption !== undefined) await publishRecoveryKey(plan.encryption, work.path);
  if (efiVariables !== undefined) await publishFile(join(work.path, 'efi-vars.fd'), efiVariables);
  await publishFile(finished, target);
  return {
    image: target,
    format: spec.format,
    ...converted,
    system,
    size: spec.diskSize === 'auto' ? job.size : undefined,
    disk,
    filesystem,
    encryption,
    efiVariables,
    durationMs: performance.now() - startedAt,
  };
}

/** The programs that make the filesystems, besides FATs. */
function programsFor({ fsType, partitions }: ImageSpec): string[] {
  const types: readonly string[] = partitions?.map(({ filesystem }) => filesystem) ?? [fsType];
  return Object.entries(PROGRAMS_OF).flatMap(([type, programs]) => (types.includes(type) ? programs : []));
}

/** The ext4 filesystems besides the root. */
function otherExt4({ partitions, disk }: Job): readonly DiskPartition[] {
  const numbers = partitions
    .filter(({ own }) => own.role !== 'root' && own.filesystem === 'ext4')
    .map(({ own }) => own.number);
  return disk.partitions.filter(({ number }) => numbers.includes(number));
}

/** What one copy of the disk takes at the least. Encrypted data have no holes. */
function bytesOnHost({ hostBytes, filesystemBytes }: DiskSize, { encrypt, fsType }: ImageSpec): number {
  if (encrypt === undefined) return hostBytes;
  const isWhole = fsType !== 'ext4' || encrypt.encryptFreeSpace === true;
  return LUKS_HEADER_BYTES + (isWhole ? filesystemBytes : hostBytes);
}

/** The number of copies of the content that exist on the host's disk at the same time. */
function copiesOf(spec: ImageSpec, plan: BuildPlan): number {
  const isConverted = spec.format !== 'raw' && spec.format !== 'qcow2-compressed';
  return 1 + (isConverted ? 1 : 0) + (plan.needsBuilder && spec.reproducible ? 1 : 0);
}

function withoutDirectory(event: StepEvent, directory: string): StepEvent {
  if (event.type !== 'start' || event.detail === undefined) return event;
  return { ...event, detail: event.detail.replaceAll(`${directory}/`, '') };
}

/** The time of a reproducible image: SOURCE_DATE_EPOCH, or one second after 1970-01-01 like all files in a Nix store.
 *  @throws {InvalidOptionsError} when it is malformed. @see reproducible-builds.org, "SOURCE_DATE_EPOCH" */
function sourceDateEpoch(): number {
  const given = process.env.SOURCE_DATE_EPOCH ?? '1';
  const parsed = timestampField.safeParse(/^\d+$/.test(given) ? Number(given) : given);
  if (parsed.success) return parsed.data;
  throw new InvalidOptionsError('buildImage', [
    { path: 'SOURCE_DATE_EPOCH', message: `must be seconds since 1970 that fit into 32 bits, found "${given}"` },
  ]);
}

async function toFormat(
  format: ImageFormat,
  raw: string,
  finished: string,
  timestamp: number | undefined,
  context: StepContext,
): Promise<{ virtualBytes: number; allocatedBytes: number }> {
  if (format !== 'raw') return convertImage({ source: raw, target: finished, format, timestamp }, context);
  await rename(raw, finished);
  const { size, blocks } = await stat(finished);
  return { virtualBytes: size, allocatedBytes: blocks * SECTOR_BYTES };
}

async function runPostVm(spec: ImageSpec, path: string, out: string, context: BuildContext): Promise<void> {
  const program = spec.postVM;
  if (program === undefined && context.postVM === undefined) return;
  await runStep('postVM', context, undefined, async (step) => {
    await context.postVM?.({ path, format: spec.format });
    if (program !== undefined)
      await step.run(program, { env: { diskImage: path, out }, what: 'the postVM hook failed' });
  });
}
