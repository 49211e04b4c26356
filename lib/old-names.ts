import { fillBootFilesystem } from './steps/fill-boot-filesystem.ts';
import { listClosureFiles } from './steps/list-closure-files.ts';
import { makeBootFilesystem } from './steps/make-boot-filesystem.ts';

/** What was renamed, under its old name until the next minor version. */

/** @deprecated Use `makeBootFilesystem`. */
export const formatEsp = makeBootFilesystem;
/** @deprecated Use `fillBootFilesystem`. */
export const fillEsp = fillBootFilesystem;
/** @deprecated Use `listClosureFiles`. */
export const listClosure = listClosureFiles;

export {
  type MountBootFilesystemOptions as CreateEspOptions,
  type MountedBootFilesystem as CreatedEsp,
  /** The name by which make-disk-image's users know what it does; it stays. */
  mountBootFilesystem as createEsp,
} from './steps/mount-boot-filesystem.ts';
