import { fillBootFilesystem } from './steps/fill-boot-filesystem.ts';
import { listClosureFiles } from './steps/list-closure-files.ts';
import { makeBootFilesystem } from './steps/make-boot-filesystem.ts';

/** Old names of renamed exports, kept until the next minor version. */

/** @deprecated Use `makeBootFilesystem`. */
export const formatEsp = makeBootFilesystem;
/** @deprecated Use `fillBootFilesystem`. */
export const fillEsp = fillBootFilesystem;
/** @deprecated Use `listClosureFiles`. */
export const listClosure = listClosureFiles;

export {
  type MountBootFilesystemOptions as CreateEspOptions,
  type MountedBootFilesystem as CreatedEsp,
  /** Users of make-disk-image know this name; it stays. */
  mountBootFilesystem as createEsp,
} from './steps/mount-boot-filesystem.ts';
