import type { ImageFormat } from '../formats/image-formats.ts';
import type { Executor } from '../run/executor.ts';
import type { StepContext } from '../run/step.ts';

/** A machine that has the image as a disk and runs commands as root: what startBuilderVm of the harness returns. */
export interface Builder extends Executor, AsyncDisposable {
  /** The device of a partition of the image; of the whole disk where there is no partition. */
  device(partition: { readonly number: number | undefined }): string;
  /** Shuts it down; everything written is in the image afterwards. */
  stop(): Promise<void>;
}

/** Where a system is. */
export interface SystemLocation {
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** The private store's directory that holds it; default: the host's store. */
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
  /** Where the programs of this host's steps run: this host, or a container that has its directories (containerExecutor of
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
