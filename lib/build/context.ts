import type { ImageFormat } from '../formats/image-formats.ts';
import type { Executor } from '../run/executor.ts';
import type { StepContext } from '../run/step.ts';

/** A machine that has the image as a disk, and runs commands as root. The harness's startBuilderVm returns one. */
export interface Builder extends Executor, AsyncDisposable {
  /** The device node of a partition of the image, or of the whole disk if `number` is undefined. */
  device(partition: { readonly number: number | undefined }): string;
  /** Shuts it down. Afterwards, all writes are in the image. */
  stop(): Promise<void>;
}

/** A system in a Nix store. */
export interface SystemLocation {
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** The directory of the private store that contains it; default: the host's store. */
  readonly store?: string | undefined;
}

export interface StartBuilderOptions {
  readonly image: string;
  readonly memSizeMiB: number;
  /** The size of the disk's logical sectors; default 512. */
  readonly sectorBytes?: 512 | 4096 | undefined;
  /** The system that is installed. The builder uses its kernel if it has no other. */
  readonly system: SystemLocation;
  /** The builder's clock at start, in seconds since 1970; default: now. */
  readonly clock?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface BuildContext extends StepContext {
  /** Where the host's steps run their programs: this host, or a container that mounts its directories
   *  (containerExecutor of nixos-disk-image/harness). */
  readonly executor?: Executor | undefined;
  /** Starts the machine for steps that need root and a kernel: `startBuilderVm` of nixos-disk-image/harness. */
  readonly startBuilder?: ((options: StartBuilderOptions) => Promise<Builder>) | undefined;
  /** Finds an empty store of EFI variables for `touchEFIVars`, if the specification does not name one (`efiVariables`):
   *  the template of `findUefiFirmware` in nixos-disk-image/harness. */
  readonly efiVariablesTemplate?: (() => Promise<string>) | undefined;
  /** Called with the finished image before it is renamed into place, like the program that the specification's `postVM`
   *  names. */
  readonly postVM?: ((image: { readonly path: string; readonly format: ImageFormat }) => Promise<void>) | undefined;
}
