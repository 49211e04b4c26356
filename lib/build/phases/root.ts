import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { TreeAttribute, TreeOwner } from '../../filesystem/tree.ts';
import { InvalidOptionsError } from '../../run/errors.ts';
import type { StepContext } from '../../run/step.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import { layoutOf, partitionOf } from '../../spec/layout.ts';
import { subvolumesIn } from '../../spec/partitions-spec.ts';
import type { DiskSize } from '../../steps/compute-disk-size.ts';
import { copyToFilesystem } from '../../steps/copy-to-filesystem.ts';
import { type MadeFilesystem, makeFilesystem } from '../../steps/make-filesystem.ts';
import type { StagedContents } from '../../steps/stage-contents.ts';
import { KIB } from '../../units.ts';
import type { Job } from '../job.ts';
import type { BuildPlan } from '../plan.ts';
import { attributesOn, ofPartition, ownersOn, tooSmall } from './partitions.ts';

/** Refuses extended attributes of `contents` that the image could not keep. @throws {InvalidOptionsError} */
export function refuseLostAttributes(spec: ImageSpec, plan: BuildPlan, { entries, attributes }: StagedContents): void {
  const refuse = (path: string, { target, name }: TreeAttribute, why: string): never => {
    throw new InvalidOptionsError('buildImage', [
      { path, message: `${target} has the extended attribute ${name}, but ${why}` },
    ]);
  };
  for (const attribute of attributes) {
    if (spec.populateRootWith === 'cptofs')
      refuse('populateRootWith', attribute, 'cptofs does not copy extended attributes');
    const layout = layoutOf(spec);
    const { label, mountPoint, number = 0 } = partitionOf(layout.partitions, attribute.target) ?? {};
    if (label !== undefined) refuse('contents', attribute, `${mountPoint} is a FAT, which cannot store it`);
    const { filesystem } = spec.partitions?.[number - 1] ?? { filesystem: spec.fsType };
    if (filesystem !== 'ext4')
      refuse(
        spec.partitions === undefined ? 'fsType' : `partitions[${number - 1}].filesystem`,
        attribute,
        `${number === 0 || mountPoint === '/' ? 'a root' : 'a filesystem'} of type ${filesystem} is filled without extended attributes`,
      );
    // The kernel removes capabilities from a file whose owner changes.
    if (plan.owners !== 'activated' || attribute.name !== 'security.capability') continue;
    const index = entries.findIndex(({ staged }) =>
      staged.some((at) => attribute.target === at || attribute.target.startsWith(`${at}/`)),
    );
    if (spec.contents[index]?.user !== undefined)
      refuse(
        `contents[${index}].user`,
        attribute,
        'the chown in the builder VM removes it; bootLoaderFrom "bootspec" keeps it',
      );
  }
}

export async function fillRoot(
  { spec, root, raw, disk, rootPlace, size, closure, attributes: given, rootUuid, timestamp, partitions }: Job,
  allOwners: readonly TreeOwner[],
  context: StepContext,
): Promise<MadeFilesystem> {
  const { fsType, label } = spec;
  const all = partitions.map(({ own }) => own);
  const own = all.find(({ role }) => role === 'root');
  const owners = own === undefined ? allOwners : ownersOn(all, own, allOwners);
  const attributes = own === undefined ? given : attributesOn(all, own, given);
  const filled = { inodeCount: inodesFor(size, rootPlace.sizeBytes), dataBlocks: size.dataBlocks };
  const hashSeed = spec.rootFSHashSeed ?? (spec.deterministic ? spec.rootFSUID : undefined);
  const options = { image: raw, partition: rootPlace, fsType, label, size: filled, uuid: rootUuid, hashSeed };
  if (spec.populateRootWith === 'mke2fs')
    return makeFilesystem(
      { ...options, closure, populateFrom: root, owners, attributes, timestamp, subvolumes: own && subvolumesIn(own) },
      context,
    ).catch((error: unknown) => {
      throw own === undefined ? error : ofPartition(own.number, tooSmall(own, error));
    });
  const filesystem = await makeFilesystem(options, context);
  const sources = (await readdir(root)).sort().map((name) => join(root, name));
  await copyToFilesystem({ image: raw, partition: disk.root, sources }, context);
  return filesystem;
}

/** The number of inodes for the tree, plus one for each 16 KiB of free space, which is mke2fs's default ratio. */
export function inodesFor({ inodes, usageBytes }: DiskSize, filesystemBytes: number): number {
  const free = Math.max(0, filesystemBytes - usageBytes);
  return inodes + Math.ceil(free / (16 * KIB)) + 16;
}
