import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fingerprintOf } from '../formats/secure-boot/authenticode.ts';
import { InvalidOptionsError, quoteForDisplay } from '../run/errors.ts';
import { requireFile, requireSecretFile } from './given-paths.ts';

/** A private key and its certificate, from files in PEM. */
export interface SigningPair {
  readonly keyFile: string;
  readonly certificateFile: string;
  readonly key: KeyObject;
  readonly certificate: X509Certificate;
  /** SHA-256 of the certificate, in lower-case hexadecimal digits. */
  readonly fingerprint: string;
}

/** @param option what precedes "key" and "certificate" in the names of the options.
 *  @throws {InvalidOptionsError} for files that are not such, for a key with a passphrase, and for two that do not belong together. */
export async function readSigningPair(
  step: string,
  keyFile: string,
  certificateFile: string,
  option = '',
): Promise<SigningPair> {
  const certificate = await readCertificate(step, certificateFile, `${option}certificate`);
  const key = await readKey(step, keyFile, `${option}key`);
  if (!certificate.checkPrivateKey(key))
    throw new InvalidOptionsError(step, [
      { path: `${option}key`, message: `${keyFile} is not the private key of the certificate ${certificateFile}` },
    ]);
  return { keyFile, certificateFile, key, certificate, fingerprint: fingerprintOf(certificate) };
}

/** A certificate in PEM. @throws {InvalidOptionsError} */
export async function readCertificate(step: string, file: string, option: string): Promise<X509Certificate> {
  await requireFile(step, file, option);
  const text = await readFile(file);
  try {
    return new X509Certificate(text);
  } catch (cause) {
    const message = `${file} is not a certificate in PEM`;
    throw new InvalidOptionsError(step, [{ path: option, message }], { cause });
  }
}

async function readKey(step: string, file: string, option: string): Promise<KeyObject> {
  await requireSecretFile(step, file, option);
  const text = await readFile(file);
  try {
    return createPrivateKey(text);
  } catch (cause) {
    // Node asks for a passphrase that nobody gave it.
    const isEncrypted = /ENCRYPTED/.test(text.toString('latin1'));
    const message = isEncrypted
      ? `${file} is encrypted with a passphrase; a key without one is needed`
      : `${file} is not a private key in PEM`;
    throw new InvalidOptionsError(step, [{ path: option, message }], {
      cause,
      hint: isEncrypted ? `decrypt it: openssl pkey -in ${quoteForDisplay(file)} -out FILE` : undefined,
    });
  }
}
