import { efiGuidBytes, formatEfiGuid } from '../guid.ts';

/** EFI_SIGNATURE_LIST: what db, dbx, KEK and PK are made of. @see UEFI specification 32.4.1 */

export interface SignatureEntry {
  /** A certificate in DER, or the digest of a program. */
  readonly type: 'x509' | 'sha256' | 'other';
  /** Who put it there: a GUID, in lower case. */
  readonly owner: string;
  readonly data: Buffer;
}

const TYPES: Readonly<Record<'x509' | 'sha256', string>> = {
  x509: 'a5c059a1-94e4-4aa7-87b5-ab155c2bf072',
  sha256: 'c1c41626-504c-4092-aca9-41f936934328',
};
const HEADER_BYTES = 28;
const OWNER_BYTES = 16;

/** Entries of several lists, one after the other. What is cut off is left out. */
export function readSignatureLists(bytes: Buffer): SignatureEntry[] {
  const entries: SignatureEntry[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const [listBytes, headerBytes, entryBytes] = [16, 20, 24].map((offset) => bytes.readUInt32LE(at + offset));
    if (listBytes === undefined || headerBytes === undefined || entryBytes === undefined) break;
    if (listBytes < HEADER_BYTES || at + listBytes > bytes.length || entryBytes <= OWNER_BYTES) break;
    const guid = formatEfiGuid(bytes.subarray(at, at + 16));
    const type = guid === TYPES.x509 ? 'x509' : guid === TYPES.sha256 ? 'sha256' : 'other';
    for (let entry = at + HEADER_BYTES + headerBytes; entry + entryBytes <= at + listBytes; entry += entryBytes)
      entries.push({
        type,
        owner: formatEfiGuid(bytes.subarray(entry, entry + OWNER_BYTES)),
        data: bytes.subarray(entry + OWNER_BYTES, entry + entryBytes),
      });
    at += listBytes;
  }
  return entries;
}

/** A list of one entry. */
export function signatureList(type: 'x509' | 'sha256', owner: string, data: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  efiGuidBytes(TYPES[type]).copy(header);
  header.writeUInt32LE(HEADER_BYTES + OWNER_BYTES + data.length, 16);
  header.writeUInt32LE(OWNER_BYTES + data.length, 24);
  return Buffer.concat([header, efiGuidBytes(owner), data]);
}
