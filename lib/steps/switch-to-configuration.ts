import { z } from 'zod';
import { defineStep, type Step } from '../run/define-step.ts';
import { absolutePath, path } from '../spec/fields.ts';
import { enterRoot, nixosEnter } from './nixos-enter.ts';

const STEP = 'switchToConfiguration';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  root: absolutePath.default('/mnt'),
  /** Also install the loader itself, not only its entries; default true. */
  installBootLoader: z.boolean().default(true),
  /** A real `nixos-enter` to use. */
  nixosEnterTool: path.optional(),
});

export interface SwitchToConfigurationOptions extends z.input<typeof schema> {}

/** Makes the installed system the boot default, from inside: `switch-to-configuration boot`.
 *  @throws {ToolFailedError} when it fails: its own output is in the error.
 *  @see nixos-install(8), which calls it the same way. Runs: what nixosEnter runs. */
export const switchToConfiguration: Step<SwitchToConfigurationOptions, void> = defineStep({
  name: STEP,
  options: schema,
  runs: nixosEnter.runs,
  where: 'anywhere',
  async run(step, { root, installBootLoader, nixosEnterTool }) {
    await enterRoot(
      step,
      {
        root,
        command: ['/nix/var/nix/profiles/system/bin/switch-to-configuration', 'boot'],
        env: installBootLoader ? { NIXOS_INSTALL_BOOTLOADER: '1' } : {},
        nixosEnterTool,
      },
      'switch-to-configuration boot failed in the installed system',
    );
  },
});
