/// <reference types="node" preserve="true" />
export { STEPS } from './all-steps.ts';
export { type BuildImageOptions, type BuiltImage, buildImage } from './build/build-image.ts';
export type { BuildContext, Builder, StartBuilderOptions, SystemLocation } from './build/context.ts';
export { type BuildPhase, type BuildPlan, planBuild } from './build/plan.ts';
export { type DiffImagesOptions, diffImages } from './diff/diff-images.ts';
export type { Difference } from './diff/difference.ts';
export type { FatFacts } from './filesystem/fat.ts';
export type { RootFilesystem, TreeUsage } from './filesystem/root-filesystem.ts';
export type { StorePathSize } from './filesystem/store-path-sizes.ts';
export type { Closure, TreeAttribute, TreeEntry, TreeOwner } from './filesystem/tree.ts';
export type { EfiProgram } from './formats/efi-program.ts';
export { IMAGE_FORMATS, type ImageFormat, imageFileName } from './formats/image-formats.ts';
export {
  PARTITION_LAYOUTS,
  PARTITION_TABLE_TYPES,
  type PartitionLayout,
  type PartitionPlan,
  type PartitionRole,
  type PartitionTableType,
} from './formats/layouts.ts';
export { LUKS_HEADER_BYTES, type LuksHeader, type LuksKeySlot, luksPayload } from './formats/luks.ts';
export { removeTree } from './host-files/private-output.ts';
export type { BiosBoot } from './inspect/bios-boot.ts';
export type { EfiBoot, InspectedProgram } from './inspect/efi-boot.ts';
export type { FoundEncryption } from './inspect/encryption.ts';
export type { FoundFilesystem } from './inspect/filesystems.ts';
export type { Finding } from './inspect/finding.ts';
export type { Generation } from './inspect/generations.ts';
export { type ImageInspection, type InspectImageOptions, inspectImage } from './inspect/inspect-image.ts';
export type { InspectedPartition } from './inspect/inspected-partition.ts';
export type { LoaderEntry } from './inspect/loader-entry.ts';
export { type RepartDefinition, repartDefinitions } from './inspect/repart-definitions.ts';
export * from './old-names.ts';
export type { Step, StepFacts, WithOldNames } from './run/define-step.ts';
export * from './run/errors.ts';
export type { Executor, RunOptions, RunResult } from './run/executor.ts';
export { localExecutor } from './run/local-executor.ts';
export type { StepContext, StepEvent } from './run/step.ts';
export { findTool, requireTool, TOOLS, type Tool } from './run/tools.ts';
export { type DiskoDisk, type ReadDiskoOptions, readDisko } from './spec/disko.ts';
export type { ContentsEntry } from './spec/fields.ts';
export {
  type ImageSpec,
  type ImageSpecInput,
  imageSpecJsonSchema,
  imageSpecSchema,
  parseImageSpec,
} from './spec/image-spec.ts';
export { type ReadRepartOptions, readRepart } from './spec/repart.ts';
export { type ChownContentsOptions, chownContents } from './steps/chown-contents.ts';
export {
  type ComputeDiskSizeOptions,
  computeDiskSize,
  type DiskSize,
} from './steps/compute-disk-size.ts';
export {
  type ConvertedImage,
  type ConvertImageOptions,
  convertImage,
} from './steps/convert-image.ts';
export { type CopyBootCodeOptions, copyBootCode } from './steps/copy-boot-code.ts';
export { type CopiedToFilesystem, type CopyToFilesystemOptions, copyToFilesystem } from './steps/copy-to-filesystem.ts';
export { type CopyToPartitionOptions, copyToPartition } from './steps/copy-to-partition.ts';
export { type CreateDiskOptions, type CreatedDisk, createDisk } from './steps/create-disk.ts';
export {
  type EncryptedPartition,
  type EncryptPartitionOptions,
  encryptPartition,
} from './steps/encrypt-partition.ts';
export {
  type EnrolledSecureBootKeys,
  type EnrollSecureBootKeysOptions,
  enrollSecureBootKeys,
} from './steps/enroll-secure-boot-keys.ts';
export { type ExtractFilesystemOptions, extractFilesystem } from './steps/extract-filesystem.ts';
export { type FillBootFilesystemOptions, fillBootFilesystem } from './steps/fill-boot-filesystem.ts';
export {
  type GeneratedSecureBootKeys,
  type GenerateSecureBootKeysOptions,
  generateSecureBootKeys,
  type SecureBootKeyFiles,
} from './steps/generate-secure-boot-keys.ts';
export { type InstalledGrub, type InstallGrubOptions, installGrub } from './steps/install-grub.ts';
export { type InstalledSystem, type InstallSystemOptions, installSystem } from './steps/install-system.ts';
export {
  type InstalledSystemdBoot,
  type InstallSystemdBootOptions,
  installSystemdBoot,
} from './steps/install-systemd-boot.ts';
export { type LinkBootDevicesOptions, linkBootDevices } from './steps/link-boot-devices.ts';
export { type ListClosureFilesOptions, listClosureFiles } from './steps/list-closure-files.ts';
export { type MakeBootFilesystemOptions, makeBootFilesystem } from './steps/make-boot-filesystem.ts';
export { type MadeFilesystem, type MakeFilesystemOptions, makeFilesystem } from './steps/make-filesystem.ts';
export { type MakeSwapOptions, makeSwap } from './steps/make-swap.ts';
export { type MadeUki, type MakeUkiOptions, makeUki } from './steps/make-uki.ts';
export {
  type ClosureSize,
  type MeasureClosureOptions,
  measureClosure,
} from './steps/measure-closure.ts';
export {
  type MountBootFilesystemOptions,
  type MountedBootFilesystem,
  mountBootFilesystem,
} from './steps/mount-boot-filesystem.ts';
export { type MountRootOptions, mountRoot } from './steps/mount-root.ts';
export { type NixosEnterOptions, nixosEnter } from './steps/nixos-enter.ts';
export { type PackedFile, type PackFilesystemOptions, packFilesystem } from './steps/pack-filesystem.ts';
export {
  type DiskPartition,
  type PartitionDiskOptions,
  type PartitionedDisk,
  partitionDisk,
  type WholeDisk,
} from './steps/partition-disk.ts';
export { type PrepareKeyEnrollmentOptions, prepareKeyEnrollment } from './steps/prepare-key-enrollment.ts';
export { type RemoveMachineIdOptions, removeMachineId } from './steps/remove-machine-id.ts';
export { type RemoveRandomSeedOptions, removeRandomSeed } from './steps/remove-random-seed.ts';
export { type ResolvedOwner, type ResolveOwnersOptions, resolveOwners } from './steps/resolve-owners.ts';
export { type ShrinkImageOptions, type ShrunkImage, shrinkImage } from './steps/shrink-image.ts';
export { type SignBootFilesOptions, type SignedBootFiles, signBootFiles } from './steps/sign-boot-files.ts';
export { type SignEfiProgramOptions, type SignedEfiProgram, signEfiProgram } from './steps/sign-efi-program.ts';
export { type StageContentsOptions, type StagedContents, stageContents } from './steps/stage-contents.ts';
export { type SwitchToConfigurationOptions, switchToConfiguration } from './steps/switch-to-configuration.ts';
export { type TunedFilesystem, type TuneFilesystemOptions, tuneFilesystem } from './steps/tune-filesystem.ts';
export { type UnmountRootOptions, unmountRoot } from './steps/unmount-root.ts';
export { type WriteConfigFileOptions, writeConfigFile } from './steps/write-config-file.ts';
export { type WriteEfiVariablesOptions, writeEfiVariables } from './steps/write-efi-variables.ts';
export { type WritePartitionsOptions, type WrittenDisk, writePartitions } from './steps/write-partitions.ts';
export { formatBytes, formatDuration, MIB, parseIecSize, SECTOR_BYTES } from './units.ts';
