import { efiGuidBytes, formatEfiGuid } from './guid.ts';

/** The store in which UEFI firmware on flash keeps its variables, as in OVMF_VARS.fd.
 *  @see edk2 MdeModulePkg/Include/Guid/VariableFormat.h; UEFI specification 8.2 */

export interface EfiVariable {
  readonly name: string;
  /** The GUID of the definer of the name, in lower case. */
  readonly vendor: string;
  readonly attributes: number;
  readonly data: Buffer;
  /** When an authenticated variable was signed. Default: never. */
  readonly signedAt?: Date | undefined;
}

export const EFI_GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
/** Of db and dbx. */
export const IMAGE_SECURITY_DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';

/** Kept over a reset, for the firmware and for the system. */
export const NON_VOLATILE = 7;

/** EFI_SYSTEM_NV_DATA_FV and EFI_AUTHENTICATED_VARIABLE, as they are in the file. */
const VOLUME_GUID = '8d2bf1ff96768b4ca9852747075b4f50';
const STORE_GUID = '782cf3aa7b949a43a1802e144ec37792';
const STORE_HEADER_BYTES = 28;
const RECORD_HEADER_BYTES = 60;
const START = 0x55aa;
const ADDED = 0x3f;
/** Added; or about to be replaced, which a power cut may have prevented. */
const VALID: ReadonlySet<number> = new Set([ADDED, 0x3e]);

/** Where the variables of a store begin, and where its space ends; undefined if this is not such a store. */
function spaceOf(store: Buffer): { readonly begin: number; readonly end: number } | undefined {
  const headerBytes = store.length > 0x100 ? store.readUInt16LE(0x30) : 0;
  const isVolume = store.toString('hex', 16, 32) === VOLUME_GUID && store.toString('latin1', 0x28, 0x2c) === '_FVH';
  if (!isVolume || store.toString('hex', headerBytes, headerBytes + 16) !== STORE_GUID) return undefined;
  if (headerBytes + STORE_HEADER_BYTES > store.length) return undefined;
  const end = Math.min(headerBytes + store.readUInt32LE(headerBytes + 16), store.length);
  return { begin: headerBytes + STORE_HEADER_BYTES, end };
}

/** The variables of a store, without those that were deleted; undefined if this is not such a store. */
export function readVariables(store: Buffer): readonly EfiVariable[] | undefined {
  const space = spaceOf(store);
  if (space === undefined) return undefined;
  const variables: EfiVariable[] = [];
  for (let at = space.begin; at + RECORD_HEADER_BYTES <= space.end && store.readUInt16LE(at) === START; ) {
    const [nameBytes, dataBytes] = [store.readUInt32LE(at + 36), store.readUInt32LE(at + 40)];
    const dataAt = at + RECORD_HEADER_BYTES + nameBytes;
    if (dataAt + dataBytes > space.end) break;
    if (VALID.has(store.readUInt8(at + 2)))
      variables.push({
        name: store.toString('utf16le', at + RECORD_HEADER_BYTES, dataAt).replace(/\0.*$/s, ''),
        vendor: formatEfiGuid(store.subarray(at + 44, at + 60)),
        attributes: store.readUInt32LE(at + 4),
        data: Buffer.from(store.subarray(dataAt, dataAt + dataBytes)),
      });
    at = align(dataAt + dataBytes);
  }
  return variables;
}

/** A copy of a store that has variables added after those that it has; undefined if they do not fit.
 *  @throws {TypeError} if this is not such a store: readVariables tells. */
export function addVariables(store: Buffer, variables: readonly EfiVariable[]): Buffer | undefined {
  const space = spaceOf(store);
  if (space === undefined) throw new TypeError('not a store of EFI variables');
  let at = space.begin;
  while (at + RECORD_HEADER_BYTES <= space.end && store.readUInt16LE(at) === START)
    at = align(at + RECORD_HEADER_BYTES + store.readUInt32LE(at + 36) + store.readUInt32LE(at + 40));
  const bytes = Buffer.concat(variables.map(record));
  if (at + bytes.length > space.end) return undefined;
  const written = Buffer.from(store);
  bytes.copy(written, at);
  return written;
}

/** The next record begins at a multiple of four. */
function align(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}

function record({ name, vendor, attributes, data, signedAt }: EfiVariable): Buffer {
  const text = Buffer.from(`${name}\0`, 'utf16le');
  const header = Buffer.alloc(RECORD_HEADER_BYTES);
  header.writeUInt16LE(START, 0);
  header.writeUInt8(ADDED, 2);
  header.writeUInt32LE(attributes, 4);
  if (signedAt !== undefined) efiTime(signedAt).copy(header, 16);
  header.writeUInt32LE(text.length, 36);
  header.writeUInt32LE(data.length, 40);
  efiGuidBytes(vendor).copy(header, 44);
  const bytes = Buffer.concat([header, text, data]);
  return Buffer.concat([bytes, Buffer.alloc(align(bytes.length) - bytes.length, 0xff)]);
}

/** EFI_TIME, to the second, in UTC. */
function efiTime(time: Date): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(time.getUTCFullYear(), 0);
  bytes.set(
    [time.getUTCMonth() + 1, time.getUTCDate(), time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()],
    2,
  );
  return bytes;
}
