import { diffImages } from './diff/diff-images.ts';
import { inspectImage } from './inspect/inspect-image.ts';
import type { StepFacts } from './run/define-step.ts';
import { chownContents } from './steps/chown-contents.ts';
import { computeDiskSize } from './steps/compute-disk-size.ts';
import { convertImage } from './steps/convert-image.ts';
import { copyBootCode } from './steps/copy-boot-code.ts';
import { copyToFilesystem } from './steps/copy-to-filesystem.ts';
import { copyToPartition } from './steps/copy-to-partition.ts';
import { createDisk } from './steps/create-disk.ts';
import { encryptPartition } from './steps/encrypt-partition.ts';
import { enrollSecureBootKeys } from './steps/enroll-secure-boot-keys.ts';
import { extractFilesystem } from './steps/extract-filesystem.ts';
import { fillBootFilesystem } from './steps/fill-boot-filesystem.ts';
import { generateSecureBootKeys } from './steps/generate-secure-boot-keys.ts';
import { installGrub } from './steps/install-grub.ts';
import { installSystem } from './steps/install-system.ts';
import { installSystemdBoot } from './steps/install-systemd-boot.ts';
import { linkBootDevices } from './steps/link-boot-devices.ts';
import { listClosureFiles } from './steps/list-closure-files.ts';
import { makeBootFilesystem } from './steps/make-boot-filesystem.ts';
import { makeFilesystem } from './steps/make-filesystem.ts';
import { makeSwap } from './steps/make-swap.ts';
import { makeUki } from './steps/make-uki.ts';
import { measureClosure } from './steps/measure-closure.ts';
import { mountBootFilesystem } from './steps/mount-boot-filesystem.ts';
import { mountRoot } from './steps/mount-root.ts';
import { nixosEnter } from './steps/nixos-enter.ts';
import { packFilesystem } from './steps/pack-filesystem.ts';
import { partitionDisk } from './steps/partition-disk.ts';
import { prepareKeyEnrollment } from './steps/prepare-key-enrollment.ts';
import { removeMachineId } from './steps/remove-machine-id.ts';
import { removeRandomSeed } from './steps/remove-random-seed.ts';
import { resolveOwners } from './steps/resolve-owners.ts';
import { shrinkImage } from './steps/shrink-image.ts';
import { signBootFiles } from './steps/sign-boot-files.ts';
import { signEfiProgram } from './steps/sign-efi-program.ts';
import { stageContents } from './steps/stage-contents.ts';
import { switchToConfiguration } from './steps/switch-to-configuration.ts';
import { tuneFilesystem } from './steps/tune-filesystem.ts';
import { unmountRoot } from './steps/unmount-root.ts';
import { writeConfigFile } from './steps/write-config-file.ts';
import { writeEfiVariables } from './steps/write-efi-variables.ts';
import { writePartitions } from './steps/write-partitions.ts';

/** Every step, with its name, its options' names and the programs that it runs. */
export const STEPS: readonly StepFacts[] = [
  chownContents,
  computeDiskSize,
  convertImage,
  copyBootCode,
  copyToFilesystem,
  copyToPartition,
  createDisk,
  diffImages,
  encryptPartition,
  enrollSecureBootKeys,
  extractFilesystem,
  fillBootFilesystem,
  generateSecureBootKeys,
  inspectImage,
  installGrub,
  installSystem,
  installSystemdBoot,
  linkBootDevices,
  listClosureFiles,
  makeBootFilesystem,
  makeFilesystem,
  makeSwap,
  makeUki,
  measureClosure,
  mountBootFilesystem,
  mountRoot,
  nixosEnter,
  packFilesystem,
  partitionDisk,
  prepareKeyEnrollment,
  removeMachineId,
  removeRandomSeed,
  resolveOwners,
  shrinkImage,
  signBootFiles,
  signEfiProgram,
  stageContents,
  switchToConfiguration,
  tuneFilesystem,
  unmountRoot,
  writeConfigFile,
  writeEfiVariables,
  writePartitions,
];
