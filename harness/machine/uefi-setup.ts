import { copyFile, readFile } from 'node:fs/promises';
import { readVariables } from '../../lib/formats/efi-variables.ts';
import { secureBootKeys } from '../../lib/formats/secure-boot/trust.ts';
import { requireFile } from '../../lib/host-files/given-paths.ts';
import { readCertificate } from '../../lib/host-files/signing-pair.ts';
import { InvalidOptionsError } from '../../lib/run/errors.ts';
import { enrollSecureBootKeys } from '../../lib/steps/enroll-secure-boot-keys.ts';
import type { Architecture } from '../qemu/architecture.ts';
import { findUefiFirmware, type UefiFirmware } from '../qemu/firmware.ts';
import type { MachineSpec } from './machine-spec.ts';

/** UEFI firmware and the store of variables that a machine starts from. */
export interface UefiSetup {
  readonly firmware: UefiFirmware;
  /** Whether Secure Boot is to be enforced in the end. */
  readonly secureBoot: boolean;
  /** Makes the machine's own store. */
  readonly writeVariables: (target: string) => Promise<void>;
}

type Given = Pick<MachineSpec, 'secureBoot' | 'efiVariables'>;

/** Finds firmware that does what is asked for with Secure Boot.
 *  @throws {InvalidOptionsError} for a store that contradicts it; {FirmwareMissingError}. */
export async function setUpUefi(
  step: string,
  { secureBoot, efiVariables }: Given,
  architecture: Architecture,
): Promise<UefiSetup> {
  if (efiVariables !== undefined) await requireFile(step, efiVariables, 'efiVariables');
  const hasKeys = efiVariables !== undefined && (await hasPlatformKey(efiVariables));
  const isWanted = secureBoot ?? hasKeys;
  if (isWanted === false && hasKeys)
    throw new InvalidOptionsError(step, [
      { path: 'secureBoot', message: `is false, and ${efiVariables} has Secure Boot keys` },
    ]);
  if (isWanted === false) {
    const firmware = await findUefiFirmware({ architecture });
    return {
      ...{ firmware, secureBoot: false },
      writeVariables: (target) => copyFile(efiVariables ?? firmware.variablesTemplate, target),
    };
  }
  const wanted = isWanted === true && efiVariables === undefined ? 'enrolled' : 'own';
  const firmware = await findUefiFirmware({ architecture, secureBoot: wanted });
  const template = efiVariables ?? firmware.variablesTemplate;
  const enroll = typeof isWanted === 'object' ? isWanted.enroll : [];
  for (const [index, file] of enroll.entries()) await readCertificate(step, file, `secureBoot.enroll[${index}]`);
  const [platformKey] = enroll;
  return {
    ...{ firmware, secureBoot: true },
    async writeVariables(target) {
      if (platformKey === undefined) await copyFile(template, target);
      else await enrollSecureBootKeys({ variables: template, target, platformKey, db: enroll });
    },
  };
}

/** A store of another kind has none that is known. */
async function hasPlatformKey(file: string): Promise<boolean> {
  const variables = readVariables(await readFile(file));
  return variables !== undefined && !secureBootKeys(variables).isSetupMode;
}
