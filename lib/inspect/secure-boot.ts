import { readFile } from 'node:fs/promises';
import { readVariables } from '../formats/efi-variables.ts';
import { nameOf } from '../formats/secure-boot/authenticode.ts';
import { judgeProgram, type SecureBootKeys, secureBootKeys, type Trust } from '../formats/secure-boot/trust.ts';
import { requireFile } from '../host-files/given-paths.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { BootFile } from './boot-volume.ts';
import type { Budget } from './budget.ts';
import type { Finding } from './finding.ts';

/** What firmware with Secure Boot makes of the programs that it is to start. */

/** The keys in a store of EFI variables. @throws {InvalidOptionsError} for a file that is not such a store. */
export async function readSecureBootKeys(step: string, file: string): Promise<SecureBootKeys> {
  await requireFile(step, file, 'efiVariables');
  const variables = readVariables(await readFile(file));
  if (variables === undefined)
    throw new InvalidOptionsError(step, [
      { path: 'efiVariables', message: `${file} is not a store of EFI variables, such as OVMF_VARS.fd` },
    ]);
  return secureBootKeys(variables);
}

/** Whether the firmware that has these keys starts a program; undefined for a file that is not an EFI program. */
export async function trustIn(file: BootFile, keys: SecureBootKeys, budget: Budget): Promise<Trust | undefined> {
  const check = (): void => budget.check();
  const [digest, signatures] = [await file.digest(check), await file.signatures(check)];
  return digest === undefined ? undefined : judgeProgram(digest, signatures, keys);
}

/** What keeps firmware with Secure Boot from starting a program, as a finding's code and message; undefined when nothing does. */
export async function refusal(
  file: BootFile,
  trust: Trust | undefined,
  keys: SecureBootKeys,
): Promise<Pick<Finding, 'code' | 'message'> | undefined> {
  if (trust === undefined || trust === 'trusted') return undefined;
  const signers = [...new Set((await file.signatures()).map(({ signer }) => signer))].join('; ');
  const { certificates } = keys.db;
  const allowed = certificates.map(({ subject }) => nameOf(subject)).join('; ') || 'no certificate';
  const message = {
    unsigned: `${file.path} is not signed, and Secure Boot starts only programs that are`,
    changed: `${file.path} was changed after ${signers || 'somebody'} signed it`,
    untrusted: `${file.path} is signed by ${signers}, which is not in the firmware's db (it has ${allowed})`,
    revoked: `${file.path} is revoked: its hash or its signer is in the firmware's dbx`,
  }[trust];
  return { code: `secure-boot-${trust}`, message };
}
