/** GUIDs as text in lower case and as 16 bytes. Filesystems write the text's bytes in their order; UEFI and GPT write the
 *  first three fields little-endian. @see UEFI specification, appendix A; RFC 4122 */

/** 16 bytes in their order: `f222513b-ded1-49fa-b591-20ce86a2fe7f`. */
export function formatUuid(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The same of 16 bytes as UEFI has them. */
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
