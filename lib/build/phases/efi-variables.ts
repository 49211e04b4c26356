import { inspectImage } from '../../inspect/inspect-image.ts';
import { UnexpectedStateError } from '../../run/errors.ts';
import { writeEfiVariables } from '../../steps/write-efi-variables.ts';
import type { BuildContext } from '../context.ts';
import type { Job } from '../job.ts';

/** Paths of loaders on an ESP, with the labels of boot entries that their installers make. The removable media path is
 *  last, because it is for machines without boot entries. */
const EFI_LOADERS: readonly (readonly [pattern: RegExp, label: string])[] = [
  [/^EFI\/systemd\/systemd-boot\w+\.efi$/i, 'Linux Boot Manager'],
  [/^EFI\/[^/]+\/grub\w+\.efi$/i, 'NixOS-boot'],
  [/^EFI\/BOOT\/BOOT\w+\.EFI$/i, 'NixOS'],
];

/** Makes a store of EFI variables with a boot entry for the loader on the ESP, however it was installed. The store has
 *  no boot entry if the plan installs no EFI loader. */
export async function makeEfiVariables(
  { spec, plan, disk: { esp } }: Pick<Job, 'spec' | 'plan' | 'disk'>,
  image: string,
  target: string,
  context: BuildContext,
): Promise<void> {
  const template = spec.efiVariables ?? (await context.efiVariablesTemplate?.());
  const isEmpty =
    esp === undefined || plan.bootLoader === 'none' || (plan.bootLoader === 'grub' && !plan.firmware.includes('efi'));
  if (isEmpty && template !== undefined) {
    await writeEfiVariables({ template, target, bootEntries: [] }, context);
    return;
  }
  const { efi } = await inspectImage({ image, format: 'raw' }, context);
  const found = EFI_LOADERS.flatMap(([pattern, label]) => {
    const file = efi.loaders.find((name) => pattern.test(name));
    return file === undefined ? [] : [{ label, loader: `\\${file.replaceAll('/', '\\')}` }];
  })[0];
  if (esp?.partitionUuid === undefined || found === undefined || template === undefined)
    throw new UnexpectedStateError('touchEFIVars', `cannot make a boot entry for ${image}`, {
      expected: 'an ESP with a loader, and an empty store of EFI variables',
      found: found === undefined ? 'no loader' : `\\${found.loader}`,
    });
  const partition = { ...esp, partitionUuid: esp.partitionUuid };
  await writeEfiVariables({ template, target, bootEntries: [{ ...found, partition }] }, context);
}
