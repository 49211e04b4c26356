import { createHash, type Hash, verify, X509Certificate } from 'node:crypto';
import { Set as AsnSet, Constructed, fromBER, Integer, ObjectIdentifier, OctetString, Sequence } from 'asn1js';
import type { Pe } from '../efi-program.ts';
import type { ReadBytes } from '../extent.ts';

/** Signatures of EFI programs.
 *  @see Microsoft, "Windows Authenticode Portable Executable Signature Format"; UEFI specification 32.5; RFC 5652 */

/** One signature of an EFI program. */
export interface ProgramSignature {
  /** The subject of the certificate that signed. */
  readonly signer: string;
  readonly issuer: string;
  /** SHA-256 of that certificate, in lower-case hexadecimal digits. */
  readonly fingerprint: string;
  /** Whether the program is the one that was signed. */
  readonly hashMatches: boolean;
  /** Whether the signature was made with the key of that certificate. */
  readonly isAuthentic: boolean;
  /** The signer's certificate, and the others that came with it. */
  readonly certificates: readonly X509Certificate[];
}

/** The most that is read of a table of certificates. */
const MOST_TABLE_BYTES = 256 * 1024;
const MOST_SIGNATURES = 16;
const CHUNK_BYTES = 1024 * 1024;

/** WIN_CERTIFICATE: length, revision, and the type of PKCS #7 signed data. */
const ENTRY_HEADER_BYTES = 8;
const PKCS7 = 2;

const DIGESTS: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};
const MESSAGE_DIGEST = '1.2.840.113549.1.9.4';
const SET = 0x31;
const CONTEXT_SPECIFIC = 3;

/** Reads the signatures of an EFI program and checks each. Entries that are not signatures are left out.
 *  @param check is called between reads; it may throw. */
export async function readSignatures(
  read: ReadBytes,
  pe: Pe,
  check: () => void = () => {},
): Promise<readonly ProgramSignature[]> {
  const { offsetBytes, sizeBytes } = pe.signing.certificates;
  const table = await read(offsetBytes, Math.min(sizeBytes, MOST_TABLE_BYTES));
  const signatures: ProgramSignature[] = [];
  const digests = new Map<string, Promise<Buffer>>();
  const digestOf = (algorithm: string): Promise<Buffer> => {
    const known = digests.get(algorithm) ?? programDigest(read, pe, algorithm, check);
    digests.set(algorithm, known);
    return known;
  };
  for (const content of pkcs7Entries(table).slice(0, MOST_SIGNATURES)) {
    const signed = parseSignature(content);
    if (signed !== undefined) signatures.push(await checkSignature(signed, digestOf));
  }
  return signatures;
}

function pkcs7Entries(table: Buffer): Buffer[] {
  const entries: Buffer[] = [];
  for (let at = 0; at + ENTRY_HEADER_BYTES <= table.length; ) {
    const length = table.readUInt32LE(at);
    if (length <= ENTRY_HEADER_BYTES) break;
    if (table.readUInt16LE(at + 6) === PKCS7) entries.push(table.subarray(at + ENTRY_HEADER_BYTES, at + length));
    // Entries begin at multiples of eight.
    at += Math.ceil(length / 8) * 8;
  }
  return entries;
}

interface ParsedSignature {
  readonly certificates: readonly X509Certificate[];
  readonly signerCertificate: X509Certificate;
  /** The algorithm and the digest of the program, as they were signed. */
  readonly algorithm: string;
  readonly programDigest: Buffer;
  /** What the attribute messageDigest is computed from: SpcIndirectDataContent without its outer tag. */
  readonly content: Buffer;
  readonly attributesAlgorithm: string;
  /** What the signature is computed from: the signed attributes, as a SET. */
  readonly attributes: Buffer;
  readonly messageDigest: Buffer;
  readonly signature: Buffer;
}

/** Reads ContentInfo, SignedData and the first SignerInfo of PKCS #7. */
function parseSignature(bytes: Buffer): ParsedSignature | undefined {
  try {
    const signedData = sequence(context(sequence(fromBER(bytes).result)[1], 0)[0]);
    const [, , encapsulated, ...rest] = signedData;
    const indirect = context(sequence(encapsulated)[1], 0)[0];
    const certificates = context(rest[0], 0).map((block) => new X509Certificate(block.valueBeforeDecodeView));
    const signer = sequence(setOf(rest.at(-1))[0]);
    const [, identifier, attributesDigest, attributes, , signature] = signer;
    const serial = sequence(identifier)[1];
    const signerCertificate = certificates.find((certificate) => hasSerial(certificate, serial));
    if (signerCertificate === undefined || indirect === undefined || attributes === undefined) return undefined;
    const [, digestInfo] = sequence(indirect);
    const [digestAlgorithm, digest] = sequence(digestInfo);
    const raw = Buffer.from(attributes.valueBeforeDecodeView);
    // In the signature they have the tag [0].
    raw[0] = SET;
    return {
      certificates,
      signerCertificate,
      algorithm: digestName(digestAlgorithm),
      programDigest: octets(digest),
      content: Buffer.from(indirect.valueBeforeDecodeView).subarray(-indirect.valueBlock.blockLength),
      attributesAlgorithm: digestName(attributesDigest),
      attributes: raw,
      messageDigest: messageDigestOf(context(attributes, 0)),
      signature: octets(signature),
    };
  } catch {
    // It is not a signature.
    return undefined;
  }
}

type Block = ReturnType<typeof fromBER>['result'];

function sequence(block: Block | undefined): readonly Block[] {
  if (!(block instanceof Sequence)) throw new Error('not a SEQUENCE');
  return block.valueBlock.value as Block[];
}

function setOf(block: Block | undefined): readonly Block[] {
  if (!(block instanceof AsnSet)) throw new Error('not a SET');
  return block.valueBlock.value as Block[];
}

/** The content of the context-specific tag [number]. */
function context(block: Block | undefined, number: number): readonly Block[] {
  if (
    !(block instanceof Constructed) ||
    block.idBlock.tagClass !== CONTEXT_SPECIFIC ||
    block.idBlock.tagNumber !== number
  )
    throw new Error(`not [${number}]`);
  return block.valueBlock.value as Block[];
}

function octets(block: Block | undefined): Buffer {
  if (!(block instanceof OctetString)) throw new Error('not an OCTET STRING');
  return Buffer.from(block.valueBlock.valueHexView);
}

function identifierOf(block: Block | undefined): string {
  if (!(block instanceof ObjectIdentifier)) throw new Error('not an OBJECT IDENTIFIER');
  return block.getValue();
}

/** Of an AlgorithmIdentifier. */
function digestName(block: Block | undefined): string {
  const name = DIGESTS[identifierOf(sequence(block)[0])];
  if (name === undefined) throw new Error('an unknown digest');
  return name;
}

function messageDigestOf(attributes: readonly Block[]): Buffer {
  for (const attribute of attributes) {
    const [type, values] = sequence(attribute);
    if (identifierOf(type) === MESSAGE_DIGEST) return octets(setOf(values)[0]);
  }
  throw new Error('no messageDigest');
}

function hasSerial(certificate: X509Certificate, serial: Block | undefined): boolean {
  if (!(serial instanceof Integer)) return false;
  const digits = Buffer.from(serial.valueBlock.valueHexView).toString('hex');
  const plain = (text: string): string => text.toLowerCase().replace(/^0+/, '');
  return plain(certificate.serialNumber) === plain(digits);
}

async function checkSignature(
  signed: ParsedSignature,
  digestOf: (algorithm: string) => Promise<Buffer>,
): Promise<ProgramSignature> {
  const { signerCertificate, certificates, algorithm, programDigest } = signed;
  return {
    signer: nameOf(signerCertificate.subject),
    issuer: nameOf(signerCertificate.issuer),
    fingerprint: fingerprintOf(signerCertificate),
    hashMatches: (await digestOf(algorithm)).equals(programDigest),
    isAuthentic: isAuthentic(signed),
    certificates: [signerCertificate, ...certificates.filter((one) => one !== signerCertificate)],
  };
}

function isAuthentic(signed: ParsedSignature): boolean {
  const { attributesAlgorithm, attributes, messageDigest, content, signerCertificate, signature } = signed;
  const digest = createHash(attributesAlgorithm).update(content).digest();
  if (!digest.equals(messageDigest)) return false;
  try {
    return verify(attributesAlgorithm, attributes, signerCertificate.publicKey, signature);
  } catch {
    return false;
  }
}

/** The digest of a program as firmware computes it: without its checksum, its signatures, and what is between its sections. */
export async function programDigest(
  read: ReadBytes,
  pe: Pe,
  algorithm: string,
  check: () => void = () => {},
): Promise<Buffer> {
  const hash = createHash(algorithm);
  const { checksumAt, directoryAt, headerBytes, sections, certificates } = pe.signing;
  const update = (from: number, to: number): Promise<void> => hashRange(hash, read, from, to, check);
  await update(0, checksumAt);
  await update(checksumAt + 4, directoryAt);
  await update(directoryAt + 8, headerBytes);
  let hashed = headerBytes;
  for (const { offsetBytes, sizeBytes } of sections) {
    await update(offsetBytes, offsetBytes + sizeBytes);
    hashed += sizeBytes;
  }
  const end = certificates.sizeBytes > 0 ? certificates.offsetBytes : Number.MAX_SAFE_INTEGER;
  if (end > hashed) await update(hashed, end);
  return hash.digest();
}

async function hashRange(hash: Hash, read: ReadBytes, from: number, to: number, check: () => void): Promise<void> {
  for (let at = from; at < to; at += CHUNK_BYTES) {
    check();
    const chunk = await read(at, Math.min(CHUNK_BYTES, to - at));
    hash.update(chunk);
    if (chunk.length < Math.min(CHUNK_BYTES, to - at)) return;
  }
}

export function fingerprintOf(certificate: X509Certificate): string {
  return createHash('sha256').update(certificate.raw).digest('hex');
}

/** The subject or issuer of a certificate in one line: `CN=db, O=Example`. */
export function nameOf(name: string): string {
  return name.replaceAll('\n', ', ');
}
