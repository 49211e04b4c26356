import { z } from 'zod';
import { runStep, type StepContext } from '../run/step.ts';
import { absolutePath, path } from '../spec/fields.ts';
import { parseOptions } from '../spec/parse-options.ts';
import { enterRoot } from './nixos-enter.ts';

const STEP = 'switchToConfiguration';

const schema = z.object({
  root: absolutePath.default('/mnt'),
  installBootLoader: z.boolean().default(true),
  nixosEnterTool: path.optional(),
});

export interface SwitchToConfigurationOptions {
  /** The mounted root, as the executor sees it; default "/mnt". */
  readonly root?: string | undefined;
  /** Also install the loader itself, not only its entries; default true. */
  readonly installBootLoader?: boolean | undefined;
  /** A real `nixos-enter` to use. */
  readonly nixosEnterTool?: string | undefined;
}

/** Makes the installed system the boot default, from inside: `switch-to-configuration boot`.
 *  @throws {ToolFailedError} when it fails: its own output is in the error.
 *  @see nixos-install(8), which calls it the same way. Runs: what nixosEnter runs. */
export async function switchToConfiguration(
  options: SwitchToConfigurationOptions = {},
  context?: StepContext,
): Promise<void> {
  const { root, installBootLoader, nixosEnterTool } = parseOptions(STEP, schema, options);
  return runStep(STEP, context, undefined, async (step) => {
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
  });
}
