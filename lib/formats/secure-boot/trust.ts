import { X509Certificate } from 'node:crypto';
import { EFI_GLOBAL, type EfiVariable, IMAGE_SECURITY_DATABASE } from '../efi-variables.ts';
import type { ProgramSignature } from './authenticode.ts';
import { readSignatureLists, type SignatureEntry } from './signature-list.ts';

/** What firmware makes of a program under Secure Boot, by the keys in its variables.
 *  @see UEFI specification 32.5.3; edk2 SecurityPkg/Library/DxeImageVerificationLib */

export interface SecureBootKeys {
  /** Firmware without a platform key is in setup mode, and starts everything. */
  readonly isSetupMode: boolean;
  readonly db: SignatureDatabase;
  readonly dbx: SignatureDatabase;
}

interface SignatureDatabase {
  readonly certificates: readonly X509Certificate[];
  /** SHA-256 digests of programs, in lower-case hexadecimal digits. */
  readonly digests: ReadonlySet<string>;
}

/** Whether firmware starts a program, and if not, why. */
export type Trust = 'trusted' | 'unsigned' | 'changed' | 'untrusted' | 'revoked';

export function secureBootKeys(variables: readonly EfiVariable[]): SecureBootKeys {
  const entriesOf = (name: string, vendor: string): SignatureEntry[] =>
    variables.flatMap((one) => (one.name === name && one.vendor === vendor ? readSignatureLists(one.data) : []));
  return {
    isSetupMode: entriesOf('PK', EFI_GLOBAL).length === 0,
    db: database(entriesOf('db', IMAGE_SECURITY_DATABASE)),
    dbx: database(entriesOf('dbx', IMAGE_SECURITY_DATABASE)),
  };
}

function database(entries: readonly SignatureEntry[]): SignatureDatabase {
  const certificates: X509Certificate[] = [];
  const digests = new Set<string>();
  for (const { type, data } of entries) {
    if (type === 'sha256') digests.add(data.toString('hex'));
    if (type !== 'x509') continue;
    try {
      certificates.push(new X509Certificate(data));
    } catch {
      // Firmware finds no certificate there either.
    }
  }
  return { certificates, digests };
}

/** @param digest SHA-256 of the program, as firmware computes it. */
export function judgeProgram(
  digest: Buffer,
  signatures: readonly ProgramSignature[],
  { db, dbx }: SecureBootKeys,
): Trust {
  const hex = digest.toString('hex');
  const good = signatures.filter((signature) => signature.hashMatches && signature.isAuthentic);
  if (dbx.digests.has(hex) || good.some((signature) => leadsTo(signature, dbx.certificates))) return 'revoked';
  if (db.digests.has(hex) || good.some((signature) => leadsTo(signature, db.certificates))) return 'trusted';
  if (signatures.length === 0) return 'unsigned';
  return good.length === 0 ? 'changed' : 'untrusted';
}

/** Whether a signer's certificate, or one that it was issued by, is among the anchors. Expiry is of no matter to firmware. */
function leadsTo({ certificates }: ProgramSignature, anchors: readonly X509Certificate[]): boolean {
  const [signer, ...others] = certificates;
  const seen = new Set<X509Certificate>();
  for (let at = signer; at !== undefined && !seen.has(at); ) {
    const current: X509Certificate = at;
    seen.add(current);
    if (anchors.some((anchor) => anchor.raw.equals(current.raw) || isIssuedBy(current, anchor))) return true;
    at = others.find((other) => isIssuedBy(current, other));
  }
  return false;
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  if (certificate.issuer !== issuer.subject) return false;
  try {
    return certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}
