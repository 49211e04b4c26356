import { roundUp } from '../units.ts';

/** A unified kernel image: systemd's EFI stub with a kernel and what it starts with as sections.
 *  @see UAPI.5 Unified Kernel Image; PE format */

/** In the order in which systemd measures them. */
export const UKI_SECTIONS = [
  '.linux',
  '.osrel',
  '.cmdline',
  '.initrd',
  '.dtb',
  '.uname',
  '.pcrsig',
  '.pcrpkey',
] as const;
export type UkiSection = (typeof UKI_SECTIONS)[number];

interface PlacedSection {
  readonly name: UkiSection;
  /** Where its content goes in the file. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface UkiPlan {
  /** The stub with the headers of all sections; their contents follow it. */
  readonly head: Buffer;
  readonly sections: readonly PlacedSection[];
  readonly sizeBytes: number;
}

const PE_HEADER_BYTES = 24;
const SECTION_BYTES = 40;
/** Initialized data that can be read. */
const CHARACTERISTICS = 0x4000_0040;
const MOST_SECTIONS = 96;
const PAGE_BYTES = 4096;

/** Lays out sections after a stub.
 *  @returns a sentence if this cannot be done with the stub. */
export function planUki(
  stub: Buffer,
  contents: readonly { readonly name: UkiSection; readonly sizeBytes: number }[],
): UkiPlan | string {
  const at = stub.length >= 64 && stub.toString('latin1', 0, 2) === 'MZ' ? stub.readUInt32LE(0x3c) : stub.length;
  if (at + PE_HEADER_BYTES > stub.length || stub.readUInt32LE(at) !== 0x4550) return 'is not an EFI program';
  const count = stub.readUInt16LE(at + 6);
  const optionalAt = at + PE_HEADER_BYTES;
  const tableAt = optionalAt + stub.readUInt16LE(at + 20);
  if (tableAt + count * SECTION_BYTES > stub.length || count === 0) return 'is cut off';
  if (count + contents.length > MOST_SECTIONS) return `has ${count} sections, and no room for more`;
  const present = Array.from({ length: count }, (_, index) => readHeader(stub, tableAt + index * SECTION_BYTES));
  const twice = present.find(({ name }) => name === '.linux' || contents.some((one) => one.name === name));
  if (twice !== undefined) return `has a section ${twice.name} already`;
  if (stub.readUInt32LE(optionalAt + 112 + 8 * 4) !== 0) return 'is signed; its signature would not fit any more';
  const sectionAlignment = Math.max(stub.readUInt32LE(optionalAt + 32), PAGE_BYTES);
  const fileAlignment = stub.readUInt32LE(optionalAt + 36);
  const oldHeaderBytes = stub.readUInt32LE(optionalAt + 60);
  const headerBytes = roundUp(tableAt + (count + contents.length) * SECTION_BYTES, fileAlignment);
  // Stubs leave room for headers; where one does not, what follows is moved.
  const shift = Math.max(0, headerBytes - oldHeaderBytes);
  if (oldHeaderBytes + shift > Math.min(...present.map(({ address }) => address)))
    return `has no room for ${contents.length} more sections`;
  const head = Buffer.concat([stub.subarray(0, oldHeaderBytes), Buffer.alloc(shift), stub.subarray(oldHeaderBytes)]);
  for (let index = 0; shift > 0 && index < count; index++) {
    const pointerAt = tableAt + index * SECTION_BYTES + 20;
    const pointer = head.readUInt32LE(pointerAt);
    if (pointer > 0) head.writeUInt32LE(pointer + shift, pointerAt);
  }
  let address = roundUp(Math.max(...present.map((one) => one.address + one.memoryBytes)), sectionAlignment);
  let offset = roundUp(head.length, fileAlignment);
  const sections: PlacedSection[] = [];
  for (const [index, { name, sizeBytes }] of contents.entries()) {
    const header = Buffer.alloc(SECTION_BYTES);
    header.write(name, 0, 8, 'latin1');
    header.writeUInt32LE(sizeBytes, 8);
    header.writeUInt32LE(address, 12);
    header.writeUInt32LE(roundUp(sizeBytes, fileAlignment), 16);
    header.writeUInt32LE(offset, 20);
    header.writeUInt32LE(CHARACTERISTICS, 36);
    header.copy(head, tableAt + (count + index) * SECTION_BYTES);
    sections.push({ name, offsetBytes: offset, sizeBytes });
    address = roundUp(address + sizeBytes, sectionAlignment);
    offset += roundUp(sizeBytes, fileAlignment);
    if (address > MOST_BYTES || offset > MOST_BYTES) return 'cannot hold more than 2 GiB';
  }
  head.writeUInt16LE(count + contents.length, at + 6);
  head.writeUInt32LE(address, optionalAt + 56);
  head.writeUInt32LE(oldHeaderBytes + shift, optionalAt + 60);
  // Firmware does not read the checksum.
  head.writeUInt32LE(0, optionalAt + 64);
  return { head, sections, sizeBytes: offset };
}

/** Addresses and offsets have 32 bits; signed tools read them as well. */
const MOST_BYTES = 0x7fff_ffff;

function readHeader(bytes: Buffer, at: number) {
  return {
    name: bytes.toString('latin1', at, at + 8).replace(/\0.*$/s, ''),
    memoryBytes: Math.max(bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 16)),
    address: bytes.readUInt32LE(at + 12),
  };
}
