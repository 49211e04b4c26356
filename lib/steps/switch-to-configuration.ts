import { z } from 'zod';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { absolutePath, path } from '../spec/fields.ts';
import { enterRoot, nixosEnter } from './nixos-enter.ts';

const STEP = 'switchToConfiguration';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** Install the boot loader, not only its entries; default true. */
  installBootLoader: z.boolean().default(true),
  /** A real `nixos-enter` to use. */
  nixosEnterTool: path.optional(),
});

const OLD_NAMES = { root: 'mountPoint' } as const;

export type SwitchToConfigurationOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Runs the installed system's `switch-to-configuration boot`, which makes it the boot default.
 *  @throws {ToolFailedError} with its output when it fails.
 *  @see nixos-install(8), which calls it the same way. Runs: chroot, mkdir, mount, sh, test, unshare. */
export const switchToConfiguration: Step<SwitchToConfigurationOptions, void> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: nixosEnter.runs,
  where: 'anywhere',
  async run(step, { mountPoint, installBootLoader, nixosEnterTool }) {
    await enterRoot(
      step,
      {
        mountPoint,
        activate: true,
        command: ['/nix/var/nix/profiles/system/bin/switch-to-configuration', 'boot'],
        env: installBootLoader ? { NIXOS_INSTALL_BOOTLOADER: '1' } : {},
        nixosEnterTool,
      },
      'switch-to-configuration boot failed in the installed system',
    );
  },
});
