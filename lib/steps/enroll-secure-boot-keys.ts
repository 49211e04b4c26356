import type { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { EFI_GLOBAL, type EfiVariable, IMAGE_SECURITY_DATABASE } from '../formats/efi-variables.ts';
import { signatureList } from '../formats/secure-boot/signature-list.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { readCertificate } from '../host-files/signing-pair.ts';
import { readVariableStore, writeVariableStore } from '../host-files/variable-store.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { keyOwner, path } from '../spec/fields.ts';

const STEP = 'enrollSecureBootKeys';

const schema = z.object({
  /** A store of EFI variables without keys: the OVMF_VARS.fd of a firmware package, or what writeEfiVariables wrote. */
  variables: path,
  /** The file to write; an existing one is replaced, even the store itself. */
  target: path,
  /** The certificate of the platform key (PK), in PEM. Its owner may replace all other keys. */
  platformKey: path,
  /** Certificates of key exchange keys (KEK), whose owners may change db and dbx. Default: the platform key. */
  keyExchangeKeys: z.array(path).min(1).readonly().optional(),
  /** Certificates whose programs are started. */
  db: z.array(path).min(1, 'must name a certificate').readonly(),
  dbx: z
    .object({
      /** Certificates whose programs are not started. */
      certificates: z.array(path).readonly().default([]),
      /** SHA-256 of single programs, as firmware computes it: 64 hexadecimal digits. */
      digests: z
        .array(z.string().regex(/^[0-9a-f]{64}$/i, 'must be 64 hexadecimal digits'))
        .readonly()
        .default([]),
    })
    .optional(),
  /** The GUID of the keys' owner; sbctl keeps it in a file GUID. */
  owner: keyOwner,
});

export interface EnrollSecureBootKeysOptions extends z.input<typeof schema> {}

export interface EnrolledSecureBootKeys {
  readonly target: string;
  /** The variables that were written, such as PK, KEK, db. */
  readonly variables: readonly string[];
}

/** What edk2 keeps beside the keys: that Secure Boot is on, and that it is not in custom mode. */
const SECURE_BOOT_ENABLE = 'f0a30bc7-af08-4556-99c4-001009c93a44';
const CUSTOM_MODE = 'c076ec0c-7028-4399-a072-71ee5c448b9f';
const BOOT_SERVICE = 3;
/** Non-volatile, for boot services and at run time, authenticated by time. */
const AUTHENTICATED = 0x27;
/** The digest of nothing: edk2's dbx must not be empty. */
const EMPTY_DIGEST = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Puts Secure Boot keys into a store of EFI variables, as firmware would when they are enrolled in its menu: a machine that has
 *  the store refuses programs that no key in db signed. The same keys give the same bytes.
 *  @throws {InvalidOptionsError} for a file that is not a certificate.
 *  @throws {UnexpectedStateError} when the store has keys already, is not a store, or is full.
 *  @see UEFI specification 32.3 (Secure Boot variables); virt-fw-vars(1). Runs: flock. */
export const enrollSecureBootKeys: Step<EnrollSecureBootKeysOptions, EnrolledSecureBootKeys> = defineStep({
  name: STEP,
  options: schema,
  runs: ['flock'],
  where: 'host',
  async prepare({ variables, target, platformKey, keyExchangeKeys = [platformKey], db, dbx }) {
    await requireFile(STEP, variables, 'variables');
    await requireReplaceable(STEP, target, 'target');
    const all = (files: readonly string[], option: string): Promise<X509Certificate[]> =>
      Promise.all(files.map((file, index) => readCertificate(STEP, file, `${option}[${index}]`)));
    return {
      PK: [await readCertificate(STEP, platformKey, 'platformKey')],
      KEK: await all(keyExchangeKeys, 'keyExchangeKeys'),
      db: await all(db, 'db'),
      dbx: await all(dbx?.certificates ?? [], 'dbx.certificates'),
    };
  },
  detail: ({ target }) => target,
  async run(_step, { variables, target, dbx, owner }, keys) {
    const store = await readVariableStore(STEP, variables);
    const twice = store.variables.find(({ name }) => name in keys);
    if (twice !== undefined)
      throw new UnexpectedStateError(STEP, `${variables} has a ${twice.name} already`, {
        expected: 'a store without Secure Boot keys',
      });
    const digests = [...(dbx?.digests ?? []), ...(keys.dbx.length > 0 || dbx?.digests.length ? [] : [EMPTY_DIGEST])];
    const lists = (certificates: readonly X509Certificate[]): Buffer[] =>
      certificates.map(({ raw }) => signatureList('x509', owner, raw));
    const signedAt = new Date(keys.PK[0]?.validFrom ?? 0);
    const key = (name: string, vendor: string, parts: readonly Buffer[]): EfiVariable => ({
      ...{ name, vendor, attributes: AUTHENTICATED, data: Buffer.concat(parts), signedAt },
    });
    const added = [
      key('PK', EFI_GLOBAL, lists(keys.PK)),
      key('KEK', EFI_GLOBAL, lists(keys.KEK)),
      key('db', IMAGE_SECURITY_DATABASE, lists(keys.db)),
      key('dbx', IMAGE_SECURITY_DATABASE, [
        ...lists(keys.dbx),
        ...digests.map((digest) => signatureList('sha256', owner, Buffer.from(digest, 'hex'))),
      ]),
      { name: 'SecureBootEnable', vendor: SECURE_BOOT_ENABLE, attributes: BOOT_SERVICE, data: Buffer.from([1]) },
      { name: 'CustomMode', vendor: CUSTOM_MODE, attributes: BOOT_SERVICE, data: Buffer.from([0]) },
    ];
    await writeVariableStore(STEP, store, added, target);
    return { target, variables: added.map(({ name }) => name) };
  },
});
