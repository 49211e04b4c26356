import { randomUUID } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rename, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { FAT_EPOCH } from '../filesystem/fat.ts';
import { requireFilesystemTools } from '../filesystem/root-filesystem.ts';
import type { Closure, TreeAttribute, TreeOwner } from '../filesystem/tree.ts';
import { type ImageFormat, imageFileName } from '../formats/image-formats.ts';
import { deterministicVolumeId, PARTITION_LAYOUTS } from '../formats/layouts.ts';
import { makePrivateFolder, publishFile } from '../host-files/private-output.ts';
import { requireRoom } from '../host-files/room.ts';
import { inspectImage } from '../inspect/inspect-image.ts';
import { DiskImageError, InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import type { Executor } from '../run/executor.ts';
import { runStep, type StepContext, type StepEvent } from '../run/step.ts';
import { timestamp as timestampField } from '../spec/fields.ts';
import { type ImageSpec, type ImageSpecInput, isBelow, parseImageSpec } from '../spec/image-spec.ts';
import { chownContents } from '../steps/chown-contents.ts';
import { computeDiskSize, type DiskSize } from '../steps/compute-disk-size.ts';
import { convertImage } from '../steps/convert-image.ts';
import { copyBootCode } from '../steps/copy-boot-code.ts';
import { copyToFilesystem } from '../steps/copy-to-filesystem.ts';
import { createDisk } from '../steps/create-disk.ts';
import { createEsp } from '../steps/create-esp.ts';
import { extractFilesystem } from '../steps/extract-filesystem.ts';
import { fillEsp } from '../steps/fill-esp.ts';
import { formatEsp } from '../steps/format-esp.ts';
import { installGrub } from '../steps/install-grub.ts';
import { type InstalledSystem, installSystem } from '../steps/install-system.ts';
import { installSystemdBoot } from '../steps/install-systemd-boot.ts';
import { type MadeFilesystem, makeFilesystem } from '../steps/make-filesystem.ts';
import { mountRoot } from '../steps/mount-root.ts';
import type { PartitionedDisk } from '../steps/partition-disk.ts';
import { partitionDisk } from '../steps/partition-disk.ts';
import { removeMachineId } from '../steps/remove-machine-id.ts';
import { resolveOwners } from '../steps/resolve-owners.ts';
import { refuseInsideSource, type StagedContents, stageContents } from '../steps/stage-contents.ts';
import { switchToConfiguration } from '../steps/switch-to-configuration.ts';
import { tuneFilesystem } from '../steps/tune-filesystem.ts';
import { unmountRoot } from '../steps/unmount-root.ts';
import { writeConfigFile } from '../steps/write-config-file.ts';
import { writeEfiVariables } from '../steps/write-efi-variables.ts';
import { KIB, MIB, SECTOR_BYTES } from '../units.ts';
import { type BuildPlan, planBuild } from './plan.ts';

/** A machine that has the image as a disk and runs commands as root: what startBuilderVm of the harness returns. */
export interface Builder extends Executor, AsyncDisposable {
  /** The device of a partition of the image; number 0 is the whole disk. */
  partition(partition: { readonly number: number }): string;
  /** Shuts it down; everything written is in the image afterwards. */
  stop(): Promise<void>;
}

/** Where a system is. */
export interface SystemLocation {
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** The private store's folder that holds it; default: the host's store. */
  readonly store?: string | undefined;
}

export interface StartBuilderOptions {
  readonly image: string;
  readonly memSizeMiB: number;
  /** The system that is installed: its kernel serves where there is no other. */
  readonly system: SystemLocation;
  /** Seconds since 1970: the time that it has; default: now. */
  readonly clock?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuildContext extends StepContext {
  /** Where the programs of this host's steps run: this host, or a container that has its folders (containerExecutor of
   *  nixos-disk-image/harness). */
  readonly executor?: Executor | undefined;
  /** Starts the machine for what needs root and a kernel: `startBuilderVm` from nixos-disk-image/harness. */
  readonly startBuilder?: ((options: StartBuilderOptions) => Promise<Builder>) | undefined;
  /** Finds an empty store of EFI variables for `touchEFIVars`, where the specification names none (`efiVariables`): the
   *  template of `findUefiFirmware` in nixos-disk-image/harness. */
  readonly efiVariablesTemplate?: (() => Promise<string>) | undefined;
  /** Called with the finished image before it gets its name; the specification's `postVM` names a program instead. */
  readonly postVM?: ((image: { readonly path: string; readonly format: ImageFormat }) => Promise<void>) | undefined;
}

export interface BuildImageOptions extends ImageSpecInput {
  /** The folder the image goes into; made when it is not there. */
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
  readonly filesystem: MadeFilesystem;
  /** The store of EFI variables beside it; undefined without touchEFIVars. */
  readonly efiVariables: string | undefined;
  readonly durationMs: number;
}

/** Builds a NixOS disk image from a system closure: make-disk-image's job, out of the exported steps.
 *
 *  The image is made in a private folder beside its final place and renamed when whole; whatever happens, nothing else
 *  is left, and an image of that name that was there is replaced only by a finished one.
 *  @throws {InvalidOptionsError} for a wrong specification, all problems at once, before anything is touched; and for
 *  one that needs a builder when none was given.
 *  Runs: what its steps run. */
export async function buildImage(options: BuildImageOptions, outside: BuildContext = {}): Promise<BuiltImage> {
  const startedAt = performance.now();
  const { outDir, ...input } = options;
  const spec = parseImageSpec(input);
  const timestamp = spec.reproducible ? sourceDateEpoch() : undefined;
  const plan = await planBuild(spec);
  if (outside.executor === undefined) await requireFilesystemTools('buildImage', spec.fsType);
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
          message: 'a builder VM is needed to run the switch-to-configuration of the system, and none was given',
        },
      ],
      {
        hint: 'say bootLoaderFrom "bootspec", or installBootLoader: false; or pass { startBuilder: startBuilderVm } from nixos-disk-image/harness as the second argument',
      },
    );
  if (spec.touchEFIVars && spec.efiVariables === undefined && outside.efiVariablesTemplate === undefined)
    throw new InvalidOptionsError(
      'buildImage',
      [{ path: 'efiVariables', message: 'is needed with touchEFIVars: true: an empty store of EFI variables' }],
      { hint: 'or pass { efiVariablesTemplate: async () => (await findUefiFirmware()).variablesTemplate }' },
    );
  // With numbers for names, before anything is made.
  const owners =
    plan.owners === 'declared'
      ? await resolveOwners({ toplevel: spec.toplevel, store: spec.store, contents: spec.contents }, outside)
      : [];

  const outFolder = resolve(outDir);
  await refuseInsideSource('buildImage', spec.contents, outFolder);
  const target = join(outFolder, imageFileName(spec.baseName, spec.format));
  await using work = await makePrivateFolder(outFolder).catch((cause: unknown) => {
    // A program failed; the directory may be fine.
    if (cause instanceof DiskImageError) throw cause;
    throw new InvalidOptionsError(
      'buildImage',
      [
        {
          path: 'outDir',
          message: `${outFolder} cannot be written to: ${cause instanceof Error ? cause.message : cause}`,
        },
      ],
      { cause },
    );
  });
  // The private directory is gone when the build is over: its path helps nobody.
  const onEvent = (event: StepEvent): void => outside.onEvent?.(withoutDirectory(event, work.path));
  const context: BuildContext = { ...outside, onEvent };
  const root = join(work.path, 'root');
  const raw = join(work.path, 'disk.img');
  await mkdir(root);
  // Whatever the umask: it becomes the image's.
  await chmod(root, 0o755);

  const staged = await stageContents({ root, contents: spec.contents }, context);
  refuseLostAttributes(spec, plan, staged);
  const { toplevel: given, store, closureInfo, additionalPaths, channel } = spec;
  // With onlyNixStore a system is put together as ever, and only its store gets into the image.
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
  const bootFiles = await takeBootFiles(spec, root, work.path);
  const closure = plan.closure === 'in place' ? { store, storePaths: system.storePaths, atRoot } : undefined;
  const { partitionTableType, bootSize, additionalSpace, fsType, deterministic, rootGPUID } = spec;
  const populateFrom = closure === undefined && atRoot ? join(systemRoot, 'nix/store') : root;
  const size = await computeDiskSize(
    { root: populateFrom, closure, partitionTableType, bootSize, additionalSpace, fsType },
    context,
  );
  await requireRoom('buildImage', outFolder, size.hostBytes * copiesOf(spec, plan));
  const diskBytes = spec.diskSize === 'auto' ? size.diskBytes : spec.diskSize * MIB;
  await createDisk({ image: raw, sizeBytes: diskBytes }, context);
  const disk = await partitionDisk({ image: raw, partitionTableType, bootSize, deterministic, rootGPUID }, context);
  const rootUuid = spec.deterministic ? spec.rootFSUID : randomUUID();
  const job: Job = {
    spec,
    plan,
    root: populateFrom,
    raw,
    rootUuid,
    timestamp,
    system,
    disk,
    size,
    closure,
    attributes: staged.attributes,
  };
  if (plan.bootFilesystems === 'host') await formatBootPartitions(job, context);
  await installBootLoader(job, context);
  // What was staged, and no more: a target may be a folder that was there, such as /etc.
  const stagedOwners = owners.flatMap(({ uid, gid, index }) =>
    (staged.entries[index]?.staged ?? []).map((target) => ({ target, uid, gid })),
  );
  let filesystem = await fillRoot(job, stagedOwners, context);
  let finishedRaw = raw;
  if (plan.needsBuilder && context.startBuilder !== undefined)
    await finishInBuilder(job, staged, context.startBuilder, context);
  for (const { mountPoint, directory } of bootFiles) {
    const partition = disk.partitions.find((one) => one.mountPoint === mountPoint);
    if (partition !== undefined) await fillEsp({ image: raw, partition, populateFrom: directory, timestamp }, context);
  }
  if (plan.needsBuilder && spec.reproducible) {
    finishedRaw = join(work.path, 'again.img');
    filesystem = await layOutAgain(job, finishedRaw, work.path, context);
  } else if (fsType === 'ext4' && (plan.needsBuilder || spec.populateRootWith === 'cptofs'))
    await tuneFilesystem({ device: raw, offsetBytes: disk.root.offsetBytes }, context);

  const efiVariables = spec.touchEFIVars ? join(outFolder, 'efi-vars.fd') : undefined;
  if (efiVariables !== undefined)
    await makeEfiVariables(spec, finishedRaw, disk, join(work.path, 'efi-vars.fd'), context);
  const finished = join(work.path, basename(target));
  const converted = await toFormat(spec.format, finishedRaw, finished, timestamp, context);
  await runPostVm(spec, finished, outFolder, context);
  if (efiVariables !== undefined) await publishFile(join(work.path, 'efi-vars.fd'), efiVariables);
  await publishFile(finished, target);
  return {
    image: target,
    format: spec.format,
    ...converted,
    system,
    size: spec.diskSize === 'auto' ? size : undefined,
    disk,
    filesystem,
    efiVariables,
    durationMs: performance.now() - startedAt,
  };
}

/** @throws {InvalidOptionsError} for extended attributes of contents that the image would not have. */
function refuseLostAttributes(spec: ImageSpec, plan: BuildPlan, { entries, attributes }: StagedContents): void {
  const refuse = (path: string, { target, name }: TreeAttribute, why: string): never => {
    throw new InvalidOptionsError('buildImage', [
      { path, message: `${why}, and ${target} has the extended attribute ${name}` },
    ]);
  };
  for (const attribute of attributes) {
    if (spec.populateRootWith === 'cptofs')
      refuse('populateRootWith', attribute, 'cptofs copies no extended attributes');
    const boot = PARTITION_LAYOUTS[spec.partitionTableType].partitions.find(
      ({ label, mountPoint }) => label !== undefined && isBelow(attribute.target, mountPoint),
    );
    if (boot !== undefined) refuse('contents', attribute, `a FAT is mounted on ${boot.mountPoint}`);
    if (spec.fsType !== 'ext4')
      refuse('fsType', attribute, `a root of ${spec.fsType} is filled without extended attributes`);
    // The kernel removes capabilities from a file whose owner changes.
    if (plan.owners !== 'activated' || attribute.name !== 'security.capability') continue;
    const index = entries.findIndex(({ staged }) =>
      staged.some((at) => attribute.target === at || attribute.target.startsWith(`${at}/`)),
    );
    if (spec.contents[index]?.user !== undefined)
      refuse(
        `contents[${index}].user`,
        attribute,
        'bootLoaderFrom "bootspec" would keep it, and a chown in the builder VM does not',
      );
  }
}

/** How many copies of the tree's content are on the host's disk at the same time. */
function copiesOf(spec: ImageSpec, plan: BuildPlan): number {
  const isConverted = spec.format !== 'raw' && spec.format !== 'qcow2-compressed';
  return 1 + (isConverted ? 1 : 0) + (plan.needsBuilder && spec.reproducible ? 1 : 0);
}

function withoutDirectory(event: StepEvent, directory: string): StepEvent {
  if (event.type !== 'start' || event.detail === undefined) return event;
  return { ...event, detail: event.detail.replaceAll(`${directory}/`, '') };
}

/** Moves files staged below the mount point of a boot partition out of the root, where the mounted partition would hide them. */
async function takeBootFiles(
  spec: ImageSpec,
  root: string,
  work: string,
): Promise<{ readonly mountPoint: string; readonly directory: string }[]> {
  const taken = [];
  for (const { number, label, mountPoint } of PARTITION_LAYOUTS[spec.partitionTableType].partitions) {
    if (label === undefined || mountPoint === undefined) continue;
    const staged = join(root, mountPoint);
    const facts = await lstat(staged).catch(() => undefined);
    if (facts === undefined) continue;
    if (!facts.isDirectory())
      throw new InvalidOptionsError('buildImage', [
        {
          path: 'contents',
          message: `makes ${mountPoint} something else than a directory, and a partition is mounted there`,
        },
      ]);
    if ((await readdir(staged)).length === 0) continue;
    const directory = join(work, `boot-${number}`);
    await rename(staged, directory);
    await mkdir(staged);
    // Whatever the umask.
    await chmod(staged, facts.mode & 0o7777);
    taken.push({ mountPoint, directory });
  }
  return taken;
}

/** What the phases of one build share. */
interface Job {
  readonly spec: ImageSpec;
  readonly plan: BuildPlan;
  /** The staged root folder, and the raw disk. */
  readonly root: string;
  readonly raw: string;
  /** The root filesystem's UUID: loaders name it before it is made. */
  readonly rootUuid: string;
  /** Of everything, in a reproducible image. */
  readonly timestamp: number | undefined;
  readonly system: InstalledSystem;
  readonly disk: PartitionedDisk;
  readonly size: DiskSize;
  readonly closure: Closure | undefined;
  readonly attributes: readonly TreeAttribute[];
}

/** The time of a reproducible image: SOURCE_DATE_EPOCH, else a second past 1970 like everything in a Nix store.
 *  @throws {InvalidOptionsError} when it is malformed. @see reproducible-builds.org, "SOURCE_DATE_EPOCH" */
function sourceDateEpoch(): number {
  const given = process.env.SOURCE_DATE_EPOCH ?? '1';
  const parsed = timestampField.safeParse(/^\d+$/.test(given) ? Number(given) : given);
  if (parsed.success) return parsed.data;
  throw new InvalidOptionsError('buildImage', [
    { path: 'SOURCE_DATE_EPOCH', message: `must be seconds since 1970 that fit into 32 bits, and is "${given}"` },
  ]);
}

async function formatBootPartitions({ spec, raw, disk, timestamp }: Job, context: StepContext): Promise<void> {
  for (const partition of disk.partitions) {
    const { label, number } = partition;
    if (label === undefined) continue;
    const volumeId = spec.deterministic ? deterministicVolumeId(number) : undefined;
    await formatEsp({ image: raw, partition, label, volumeId, timestamp }, context);
  }
}

async function installBootLoader(job: Job, context: StepContext): Promise<void> {
  const { spec, plan, raw: image, root, rootUuid, disk, timestamp, system } = job;
  const { fsType, store } = spec;
  const { storePaths } = system;
  const generations = [{ number: 1, toplevel: system.toplevel }];
  const timeoutSeconds = spec.bootLoaderTimeout;
  if (plan.bootLoader === 'systemd-boot' && disk.esp !== undefined)
    await installSystemdBoot(
      { image, esp: disk.esp, xbootldr: disk.xbootldr, generations, store, storePaths, timeoutSeconds, timestamp },
      context,
    );
  if (plan.bootLoader !== 'grub') return;
  const { bios, efi } = PARTITION_LAYOUTS[spec.partitionTableType];
  const firmware = [...(bios ? (['bios'] as const) : []), ...(efi ? (['efi'] as const) : [])];
  await installGrub(
    { image, disk, firmware, root, rootUuid, fsType, generations, store, storePaths, timeoutSeconds, timestamp },
    context,
  );
}

async function fillRoot(
  { spec, root, raw, disk, size, closure, attributes, rootUuid, timestamp }: Job,
  owners: readonly TreeOwner[],
  context: StepContext,
): Promise<MadeFilesystem> {
  const { fsType, label } = spec;
  const inodeCount = inodesFor(size, disk.root.sizeBytes);
  const hashSeed = spec.rootFSHashSeed ?? (spec.deterministic ? spec.rootFSUID : undefined);
  const options = { image: raw, partition: disk.root, fsType, label, inodeCount, uuid: rootUuid, hashSeed };
  if (spec.populateRootWith === 'mke2fs')
    return makeFilesystem({ ...options, closure, populateFrom: root, owners, attributes, timestamp }, context);
  const filesystem = await makeFilesystem(options, context);
  const sources = (await readdir(root)).sort().map((name) => join(root, name));
  await copyToFilesystem({ image: raw, partition: disk.root, sources }, context);
  return filesystem;
}

/** Inodes for the tree, and one for each 16 KiB of free space, which is mke2fs's default ratio. */
function inodesFor({ inodes, usageBytes }: DiskSize, filesystemBytes: number): number {
  const free = Math.max(0, filesystemBytes - usageBytes);
  return inodes + Math.ceil(free / (16 * KIB)) + 16;
}

async function finishInBuilder(
  { spec, system, raw: image, disk, timestamp }: Job,
  staged: StagedContents,
  startBuilder: NonNullable<BuildContext['startBuilder']>,
  context: StepContext,
): Promise<void> {
  const location = { toplevel: system.toplevel, store: spec.store };
  // What is written there may name the day. FAT has none before 1980.
  const clock = timestamp === undefined ? undefined : Math.max(timestamp, FAT_EPOCH);
  await using builder = await runStep('startBuilder', context, undefined, () =>
    startBuilder({ image, memSizeMiB: spec.memSize, system: location, clock, signal: context.signal }),
  );
  const inside: StepContext = { ...context, executor: builder };
  const root = '/mnt';
  await mountRoot({ device: builder.partition(disk.root), mountPoint: root, fsType: spec.fsType }, inside);
  for (const partition of disk.partitions) {
    const { label, mountPoint, number } = partition;
    if (label === undefined || mountPoint === undefined) continue;
    const volumeId = spec.deterministic ? deterministicVolumeId(number) : undefined;
    await createEsp(
      { device: builder.partition(partition), mountPoint: `${root}${mountPoint}`, label, volumeId },
      inside,
    );
  }
  await switchToConfiguration({ root }, inside);
  const owned = spec.contents.flatMap(({ user, group }, index) =>
    (staged.entries[index]?.staged ?? []).map((target) => ({ target, user, group })),
  );
  await chownContents({ root, contents: owned, activate: false }, inside);
  await removeMachineId({ root }, inside);
  await unmountRoot({ mountPoint: root }, inside);
  await runStep('stopBuilder', context, undefined, () => builder.stop());
}

/** Lays what the builder VM left out again, on a new disk: a kernel wrote it, at the time it was, in its own order. All but the
 *  store comes out of the first disk. */
async function layOutAgain(
  { spec, raw, disk, system, rootUuid, timestamp, size, closure, attributes }: Job,
  image: string,
  work: string,
  context: StepContext,
): Promise<MadeFilesystem> {
  const { partitionTableType, bootSize, deterministic, rootGPUID, label } = spec;
  await createDisk({ image, sizeBytes: (await stat(raw)).size }, context);
  await partitionDisk({ image, partitionTableType, bootSize, deterministic, rootGPUID }, context);
  await copyBootCode({ from: raw, to: image, disk }, context);
  for (const partition of disk.partitions) {
    if (partition.label === undefined) continue;
    const folder = join(work, `partition-${partition.number}`);
    // Every machine of the image would have the same seed; systemd makes one at the first boot.
    const leaveOut = ['/loader/random-seed'];
    const entries = await extractFilesystem({ image: raw, partition, fsType: 'vfat', folder, leaveOut }, context);
    const volumeId = deterministicVolumeId(partition.number);
    await formatEsp({ image, partition, label: partition.label, volumeId, timestamp }, context);
    await fillEsp({ image, partition, entries, timestamp }, context);
  }
  const folder = join(work, 'taken-out');
  const leaveOut = system.storePaths;
  const entries = await extractFilesystem(
    { image: raw, partition: disk.root, fsType: 'ext4', folder, leaveOut },
    context,
  );
  const inodeCount = inodesFor(size, disk.root.sizeBytes);
  const hashSeed = spec.rootFSHashSeed ?? spec.rootFSUID;
  const identity = { label, uuid: rootUuid, hashSeed, inodeCount };
  return makeFilesystem({ image, partition: disk.root, ...identity, entries, closure, attributes, timestamp }, context);
}

/** Loaders that have a place of their own on an ESP, with the names that their installers give them; the removable path is for
 *  machines that have no entry. */
const EFI_LOADERS: readonly (readonly [pattern: RegExp, label: string])[] = [
  [/^EFI\/systemd\/systemd-boot\w+\.efi$/i, 'Linux Boot Manager'],
  [/^EFI\/[^/]+\/grub\w+\.efi$/i, 'NixOS-boot'],
  [/^EFI\/BOOT\/BOOT\w+\.EFI$/i, 'NixOS'],
];

/** Boot entries for the loader that is on the ESP, whoever installed it. */
async function makeEfiVariables(
  spec: ImageSpec,
  image: string,
  { esp }: PartitionedDisk,
  target: string,
  context: BuildContext,
): Promise<void> {
  const { efi } = await inspectImage({ image, format: 'raw' }, context);
  const found = EFI_LOADERS.flatMap(([pattern, label]) => {
    const file = efi.loaders.find((name) => pattern.test(name));
    return file === undefined ? [] : [{ label, loader: `\\${file.replaceAll('/', '\\')}` }];
  })[0];
  const template = spec.efiVariables ?? (await context.efiVariablesTemplate?.());
  if (esp?.partitionUuid === undefined || found === undefined || template === undefined)
    throw new UnexpectedStateError('touchEFIVars', `cannot make a boot entry for ${image}`, {
      expected: 'an ESP with a loader, and an empty store of EFI variables',
      found: found === undefined ? 'no loader' : `\\${found.loader}`,
    });
  const partition = { ...esp, partitionUuid: esp.partitionUuid };
  await writeEfiVariables({ template, target, entries: [{ ...found, partition }] }, context);
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
