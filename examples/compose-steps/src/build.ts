import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as steps from 'nixos-disk-image';
import { startBuilderVm } from 'nixos-disk-image/harness';
import { workDirectory } from './work-directory.js';

export interface BuildOptions {
  /** A built NixOS system, such as ./result. */
  readonly toplevel: string;
  /** Where the finished image goes. */
  readonly target: string;
  /** A Nix store elsewhere than in /nix/store. */
  readonly store?: string | undefined;
  /** Ends the build: running programs are killed, the VM is stopped, and nothing is left behind. */
  readonly signal: AbortSignal;
}

/** Builds an EFI image out of single steps. The target appears only when the image is complete. */
export async function build({ toplevel, target, store, signal }: BuildOptions): Promise<void> {
  const layout = { partitionTableType: 'efi', bootSize: '128M' } as const;
  const context = { signal, onEvent: showStep };

  // In the target's directory: a rename is atomic only within one filesystem.
  await mkdir(dirname(target), { recursive: true });
  await using work = await workDirectory(dirname(target));
  const stagedRoot = join(work.path, 'root');
  const image = join(work.path, 'disk.img');

  await steps.installSystem({ stagedRoot, toplevel, store }, context);
  const size = await steps.computeDiskSize({ stagedRoot, ...layout, additionalSpace: '64M' }, context);
  await steps.createDisk({ image, sizeBytes: size.diskBytes }, context);
  const disk = await steps.partitionDisk({ image, ...layout }, context);
  await steps.makeFilesystem({ image, partition: disk.root, size, populateFrom: stagedRoot }, context);

  {
    // The end of this block stops the VM, also when a step in it fails.
    await using vm = await startBuilderVm({ image, signal });
    const inside = { ...context, executor: vm };
    await steps.mountRoot({ device: vm.device(disk.root) }, inside);
    try {
      await steps.createEsp({ device: vm.device(disk.esp), mountPoint: '/mnt/boot' }, inside);
      await steps.switchToConfiguration({}, inside);
      await steps.removeMachineId({}, inside);
    } finally {
      // Without the signal: this must run after an abort as well.
      await steps.unmountRoot({}, { executor: vm });
    }
    // Writes everything to the disk and powers the VM off in order.
    await vm.stop();
  }

  await steps.tuneFilesystem({ device: image, offsetBytes: disk.root.offsetBytes }, context);
  await rename(image, target);
}

function showStep(event: steps.StepEvent): void {
  if (event.type === 'start') console.error(event.step);
}
