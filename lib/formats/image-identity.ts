import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { DiskFormat } from './image-formats.ts';

/** qemu-img writes random identifiers and the current time into a disk image. These functions replace them by fixed
 *  ones, so that equal disks give equal files. */

/** Offsets in a VDI header: the image's identifier, and that of its last snapshot. @see VDI 1.1 header, block/vdi.c in
 *  QEMU */
const VDI_UUIDS_AT = [0x188, 0x198];

/** A VHD's footer. A dynamic VHD also has a copy at its start. @see Microsoft, Virtual Hard Disk Format
 *  Specification */
const VHD_FOOTER_BYTES = 512;
const VHD = { timestamp: 24, checksum: 64, uuid: 68 };
const VHD_COOKIE = 'conectix';
/** 2000-01-01, the epoch of VHD timestamps. */
const VHD_EPOCH = 946_684_800;

/** Sets the identifier of a VDI or VHD to a hash of its content, and a VHD's time to `timestamp`. @param timestamp
 *  seconds since 1970 */
export async function fixImageIdentity(file: string, format: 'vdi' | 'vpc', timestamp: number): Promise<void> {
  await using handle = await open(file, 'r+');
  {
    const { size } = await handle.stat();
    const read = async (at: number, bytes: number): Promise<Buffer> => {
      const buffer = Buffer.alloc(bytes);
      await handle.read(buffer, 0, bytes, at);
      return buffer;
    };
    const write = (bytes: Buffer, at: number) => handle.write(bytes, 0, bytes.length, at);
    if (format === 'vdi') {
      for (const at of VDI_UUIDS_AT) await write(Buffer.alloc(16), at);
      const uuids = await digest(handle);
      for (const [index, at] of VDI_UUIDS_AT.entries()) await write(asUuid(uuids.subarray(index * 16)), at);
      return;
    }
    const places = [];
    for (const at of [0, size - VHD_FOOTER_BYTES]) {
      const footer = await read(at, VHD_FOOTER_BYTES);
      if (footer.toString('latin1', 0, VHD_COOKIE.length) === VHD_COOKIE) places.push({ at, footer });
    }
    for (const { at, footer } of places) {
      footer.writeUInt32BE(Math.max(0, timestamp - VHD_EPOCH), VHD.timestamp);
      footer.fill(0, VHD.uuid, VHD.uuid + 16);
      footer.writeUInt32BE(0, VHD.checksum);
      await write(footer, at);
    }
    const uuid = asUuid(await digest(handle));
    for (const { at, footer } of places) {
      uuid.copy(footer, VHD.uuid);
      // The ones' complement of the sum of all other bytes.
      footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, VHD.checksum);
      await write(footer, at);
    }
  }
}

/** A VMDK's descriptor, a text before the disk's content. @see VMware, Virtual Disk Format 5.0 */
const VMDK = { descriptorSector: 0x1c, descriptorSectors: 0x24, mostBytes: 1 << 20 };

/** Writes the final file name into a VMDK's descriptor, where qemu-img wrote the name of the temporary file.
 *  @param fixed whether to derive the content ID from the content; qemu-img chooses a random one. */
export async function nameVmdk(file: string, name: string, fixed: boolean): Promise<void> {
  await using handle = await open(file, 'r+');
  const { at, bytes, text: descriptor } = await readDescriptor(handle);
  // The descriptor cannot express a quote. The name has no effect: the disk is in this file.
  const shown = /^[\x20-\x7e]*$/.test(name) && !name.includes('"') ? name : 'disk.vmdk';
  const write = async (id: string | undefined): Promise<void> => {
    const text = descriptor
      .replace(/SPARSE ".*"$/m, () => `SPARSE "${shown}"`)
      .replace(/^CID=.*$/m, (line) => (id === undefined ? line : `CID=${id}`));
    const filled = Buffer.alloc(bytes);
    filled.write(text, 'latin1');
    await handle.write(filled, 0, bytes, at);
  };
  await write(fixed ? '00000000' : undefined);
  if (fixed) await write((await digest(handle)).toString('hex', 0, 4));
}

async function readDescriptor(
  handle: FileHandle,
): Promise<{ readonly at: number; readonly bytes: number; readonly text: string }> {
  const header = Buffer.alloc(512);
  await handle.read(header, 0, header.length, 0);
  const at = Number(header.readBigUInt64LE(VMDK.descriptorSector)) * 512;
  const bytes = Number(header.readBigUInt64LE(VMDK.descriptorSectors)) * 512;
  if (bytes > VMDK.mostBytes || !Number.isSafeInteger(at)) return { at, bytes: 0, text: '' };
  const { buffer } = await handle.read(Buffer.alloc(bytes), 0, bytes, at);
  // A text that QEMU has made shorter is followed by the rest of the longer one: block/vmdk.c, vmdk_write_cid.
  return { at, bytes, text: buffer.toString('latin1').replace(/\0.*$/s, '') };
}

/** Offsets of a VHDX's two headers. The one with the greater sequence number is current. @see MS-VHDX 2.2.2 */
const VHDX_HEADERS_AT = [0x10000, 0x20000];

/** Reads the identifier and the time that an image format stores besides the disk. Empty for a format with neither. */
export async function readImageIdentity(file: string, format: DiskFormat): Promise<Record<string, string>> {
  await using handle = await open(file, 'r');
  const { size } = await handle.stat();
  const at = async (offset: number, bytes: number): Promise<Buffer> =>
    (await handle.read(Buffer.alloc(bytes), 0, bytes, offset)).buffer;
  if (format === 'vdi') return { identifier: (await at(VDI_UUIDS_AT[0] ?? 0, 16)).toString('hex') };
  if (format === 'vmdk') {
    const { text } = await readDescriptor(handle);
    return { identifier: /^CID=([0-9a-f]{1,8})$/m.exec(text)?.[1] ?? '' };
  }
  if (format === 'vhdx') {
    const headers = await Promise.all(VHDX_HEADERS_AT.map((offset) => at(offset, 0x20)));
    const [current] = headers.sort((a, b) => (a.readBigUInt64LE(8) < b.readBigUInt64LE(8) ? 1 : -1));
    return { identifier: current?.toString('hex', 0x10) ?? '' };
  }
  if (format !== 'vpc') return {};
  const footer = await at(size - VHD_FOOTER_BYTES, VHD_FOOTER_BYTES);
  const time = new Date((footer.readUInt32BE(VHD.timestamp) + VHD_EPOCH) * 1000);
  return { identifier: footer.toString('hex', VHD.uuid, VHD.uuid + 16), time: time.toISOString() };
}

async function digest(handle: FileHandle): Promise<Buffer> {
  const hash = createHash('sha256');
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 }))
    hash.update(chunk as Buffer);
  return hash.digest();
}

/** Makes a UUID of version 8 ("custom") from 16 bytes. @see RFC 9562 */
function asUuid(bytes: Buffer): Buffer {
  const uuid = Buffer.from(bytes.subarray(0, 16));
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x80, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid;
}
