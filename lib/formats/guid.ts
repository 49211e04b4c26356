/** Conversions between GUIDs as lower-case text and as 16 bytes. Filesystems store all fields big-endian; UEFI and GPT
 *  store the first three fields little-endian. @see UEFI specification, appendix A; RFC 4122 */

/** Formats a GUID whose fields are big-endian: `f222513b-ded1-49fa-b591-20ce86a2fe7f`. */
export function formatUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Formats a GUID as UEFI and GPT store it. */
export function formatEfiGuid(bytes: Buffer): string {
  return formatUuid(swapFields(Buffer.from(bytes)));
}

export function efiGuidBytes(text: string): Buffer {
  return swapFields(Buffer.from(text.replaceAll('-', ''), 'hex'));
}

function swapFields(bytes: Buffer): Buffer {
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}
