import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { InvalidOptionsError } from './errors.ts';
import type { Executor } from './executor.ts';
import { makePrivateFolder, publishFile } from './private-output.ts';
import { type ImageSpec, type ImageSpecInput, parseImageSpec } from './spec/image-spec.ts';
import { runStep, type StepContext } from './step.ts';
import { chownContents } from './steps/chown-contents.ts';
import { computeDiskSize, type DiskSize } from './steps/compute-disk-size.ts';
import { convertImage, type ImageFormat, imageFileName } from './steps/convert-image.ts';
import { copyToFilesystem } from './steps/copy-to-filesystem.ts';
import { createDisk } from './steps/create-disk.ts';
import { createEsp } from './steps/create-esp.ts';
import { type InstalledSystem, installSystem } from './steps/install-system.ts';
import { type MadeFilesystem, makeFilesystem } from './steps/make-filesystem.ts';
import { mountRoot } from './steps/mount-root.ts';
import type { PartitionedDisk } from './steps/partition-disk.ts';
import { partitionDisk } from './steps/partition-disk.ts';
import { removeMachineId } from './steps/remove-machine-id.ts';
import { type StagedContents, stageContents } from './steps/stage-contents.ts';
import { switchToConfiguration } from './steps/switch-to-configuration.ts';
import { tuneFilesystem } from './steps/tune-filesystem.ts';
import { unmountRoot } from './steps/unmount-root.ts';
import { writeConfigFile } from './steps/write-config-file.ts';
import { MIB, SECTOR_BYTES } from './units.ts';

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
  readonly signal?: AbortSignal | undefined;
}

export interface BuildContext extends Omit<StepContext, 'executor'> {
  /** Starts the machine for what needs root and a kernel: `startBuilderVm` from nixos-disk-image/harness. */
  readonly startBuilder?: ((options: StartBuilderOptions) => Promise<Builder>) | undefined;
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
  readonly durationMs: number;
}

/** Builds a NixOS disk image from a system closure: make-disk-image's job, out of the exported steps.
 *
 *  The image is made in a private folder beside its final place and renamed when whole; whatever happens, nothing else
 *  is left, and an image of that name that was there is replaced only by a finished one.
 *  @throws {InvalidOptionsError} for a wrong specification, all problems at once, before anything is touched; and for
 *  one that needs a builder when none was given.
 *  Runs: what its steps run. */
export async function buildImage(options: BuildImageOptions, context: BuildContext = {}): Promise<BuiltImage> {
  const startedAt = performance.now();
  const { outDir, ...input } = options;
  const spec = parseImageSpec(input);
  if (needsBuilder(spec) && context.startBuilder === undefined)
    throw new InvalidOptionsError(
      'buildImage',
      [{ path: '', message: `a builder is needed to ${builderReasons(spec).join(', ')}` }],
      {
        hint: 'pass { startBuilder: startBuilderVm } from nixos-disk-image/harness as the second argument',
      },
    );

  const outFolder = resolve(outDir);
  const target = join(outFolder, imageFileName(spec.baseName, spec.format));
  await using work = await makePrivateFolder(outFolder).catch((cause: unknown) => {
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
  const root = join(work.path, 'root');
  const raw = join(work.path, 'disk.img');
  await mkdir(root, { mode: 0o755 });

  const staged = await stageContents({ root, contents: spec.contents }, context);
  const system = await installSystem(
    {
      root,
      toplevel: spec.toplevel,
      store: spec.store,
      closureInfo: spec.closureInfo,
      additionalPaths: spec.additionalPaths,
      channel: spec.channel,
    },
    context,
  );
  if (spec.configFile !== undefined) await writeConfigFile({ root, configFile: spec.configFile }, context);

  const size = await computeDiskSize(
    {
      root,
      partitionTableType: spec.partitionTableType,
      bootSize: spec.bootSize,
      additionalSpace: spec.additionalSpace,
    },
    context,
  );
  const diskBytes = spec.diskSize === 'auto' ? size.diskBytes : spec.diskSize * MIB;
  await createDisk({ image: raw, sizeBytes: diskBytes }, context);
  const disk = await partitionDisk(
    {
      image: raw,
      partitionTableType: spec.partitionTableType,
      bootSize: spec.bootSize,
      deterministic: spec.deterministic,
      rootGPUID: spec.rootGPUID,
    },
    context,
  );
  const filesystem = await fillRoot(spec, { root, raw, disk, size }, context);
  if (needsBuilder(spec) && context.startBuilder !== undefined)
    await finishInBuilder(spec, system, raw, disk, staged, context.startBuilder, context);
  await tuneFilesystem({ device: raw, offsetBytes: disk.root.offsetBytes }, context);

  const finished = join(work.path, basename(target));
  const converted = await toFormat(spec.format, raw, finished, context);
  await runPostVm(spec, finished, context);
  await publishFile(finished, target);
  return {
    image: target,
    format: spec.format,
    ...converted,
    system,
    size: spec.diskSize === 'auto' ? size : undefined,
    disk,
    filesystem,
    durationMs: performance.now() - startedAt,
  };
}

/** What of a specification needs a machine that runs as root; empty when nothing does. */
export function builderReasons(spec: ImageSpec): string[] {
  return [
    ...(spec.installBootLoader ? ['install the boot loader (installBootLoader)'] : []),
    ...(['efi', 'efixbootldr', 'hybrid', 'legacy+boot'].includes(spec.partitionTableType)
      ? [`make the FAT filesystems of the layout "${spec.partitionTableType}"`]
      : []),
    ...(spec.contents.some((entry) => entry.user !== undefined) ? ['give contents to users by name'] : []),
  ];
}

function needsBuilder(spec: ImageSpec): boolean {
  return builderReasons(spec).length > 0;
}

async function fillRoot(
  spec: ImageSpec,
  {
    root,
    raw,
    disk,
    size,
  }: { readonly root: string; readonly raw: string; readonly disk: PartitionedDisk; readonly size: DiskSize },
  context: StepContext,
): Promise<MadeFilesystem> {
  // A disk of a given size has room for more inodes than the tree needs; mkfs's own ratio may have fewer.
  const inodeCount = Math.max(size.inodeCount, Math.floor(disk.root.sizeBytes / (16 * 1024)));
  const identity = spec.deterministic
    ? { uuid: spec.rootFSUID, hashSeed: spec.rootFSHashSeed ?? spec.rootFSUID }
    : { hashSeed: spec.rootFSHashSeed };
  const options = { image: raw, partition: disk.root, label: spec.label, inodeCount, ...identity };
  if (spec.populateRootWith === 'mke2fs') return makeFilesystem({ ...options, populateFrom: root }, context);
  const filesystem = await makeFilesystem(options, context);
  const sources = (await readdir(root)).sort().map((name) => join(root, name));
  await copyToFilesystem({ image: raw, partition: disk.root, sources }, context);
  return filesystem;
}

async function finishInBuilder(
  spec: ImageSpec,
  { toplevel }: InstalledSystem,
  image: string,
  disk: PartitionedDisk,
  staged: StagedContents,
  startBuilder: NonNullable<BuildContext['startBuilder']>,
  context: StepContext,
): Promise<void> {
  await using builder = await runStep('startBuilder', context, undefined, () =>
    startBuilder({ image, memSizeMiB: spec.memSize, system: { toplevel, store: spec.store }, signal: context.signal }),
  );
  const inside: StepContext = { ...context, executor: builder };
  const root = '/mnt';
  await mountRoot({ device: builder.partition(disk.root), mountPoint: root }, inside);
  for (const partition of disk.partitions) {
    if (partition.label === undefined || partition.mountPoint === undefined) continue;
    await createEsp(
      { device: builder.partition(partition), mountPoint: `${root}${partition.mountPoint}`, label: partition.label },
      inside,
    );
  }
  if (spec.installBootLoader) await switchToConfiguration({ root }, inside);
  // What was staged, and no more: a target may be a folder that was there, such as /etc.
  const owned = spec.contents.flatMap(({ user, group }, index) =>
    (staged.entries[index]?.staged ?? []).map((target) => ({ target, user, group })),
  );
  await chownContents({ root, contents: owned, activate: !spec.installBootLoader }, inside);
  await removeMachineId({ root }, inside);
  await unmountRoot({ mountPoint: root }, inside);
  await runStep('stopBuilder', context, undefined, () => builder.stop());
}

async function toFormat(
  format: ImageFormat,
  raw: string,
  finished: string,
  context: StepContext,
): Promise<{ virtualBytes: number; allocatedBytes: number }> {
  if (format !== 'raw') return convertImage({ source: raw, target: finished, format }, context);
  await rename(raw, finished);
  const { size, blocks } = await stat(finished);
  return { virtualBytes: size, allocatedBytes: blocks * SECTOR_BYTES };
}

async function runPostVm(spec: ImageSpec, path: string, context: BuildContext): Promise<void> {
  const program = spec.postVM;
  if (program === undefined && context.postVM === undefined) return;
  await runStep('postVM', context, undefined, async (step) => {
    await context.postVM?.({ path, format: spec.format });
    if (program !== undefined)
      await step.run(program, { env: { diskImage: path, out: resolve(path, '..') }, what: 'the postVM hook failed' });
  });
}
