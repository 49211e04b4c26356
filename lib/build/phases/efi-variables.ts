import { inspectImage } from '../../inspect/inspect-image.ts';
import { UnexpectedStateError } from '../../run/errors.ts';
import type { ImageSpec } from '../../spec/image-spec.ts';
import type { PartitionedDisk } from '../../steps/partition-disk.ts';
import { writeEfiVariables } from '../../steps/write-efi-variables.ts';
import type { BuildContext } from '../context.ts';

/** Loaders that have a place of their own on an ESP, with the names that their installers give them; the removable path is for
 *  machines that have no entry. */
const EFI_LOADERS: readonly (readonly [pattern: RegExp, label: string])[] = [
  [/^EFI\/systemd\/systemd-boot\w+\.efi$/i, 'Linux Boot Manager'],
  [/^EFI\/[^/]+\/grub\w+\.efi$/i, 'NixOS-boot'],
  [/^EFI\/BOOT\/BOOT\w+\.EFI$/i, 'NixOS'],
];

/** Boot entries for the loader that is on the ESP, whoever installed it. */
export async function makeEfiVariables(
  spec: ImageSpec,
  image: string,
  { esp }: PartitionedDisk,
  target: string,
  context: BuildContext,
): Promise<void> {
  const { efi } = await inspectImage({ image, format: 'raw' }, context);
  const found = EFI_LOADERS.flatMap(([pattern, label]) => {
    const file = efi.loaders.find((name) => pattern.test(name));
    return file === undefined ? [] : [{ label, loader: `\\${file.replaceAll('/', '\\')}` }];
  })[0];
  const template = spec.efiVariables ?? (await context.efiVariablesTemplate?.());
  if (esp?.partitionUuid === undefined || found === undefined || template === undefined)
    throw new UnexpectedStateError('touchEFIVars', `cannot make a boot entry for ${image}`, {
      expected: 'an ESP with a loader, and an empty store of EFI variables',
      found: found === undefined ? 'no loader' : `\\${found.loader}`,
    });
  const partition = { ...esp, partitionUuid: esp.partitionUuid };
  await writeEfiVariables({ template, target, bootEntries: [{ ...found, partition }] }, context);
}
