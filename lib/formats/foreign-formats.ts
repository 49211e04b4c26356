/** A file that is not a supported disk image: a container format that is not supported, or a compressed disk image. */
export interface ForeignFormat {
  /** "a VMDK disk image of ESX" */
  readonly name: string;
  /** What to do; IMAGE is a placeholder for the file name. */
  readonly hint: string;
}

/** How much of a file's start is examined. */
export const MAGIC_BYTES = 0x8000 + 0x800;

const convert = (format: string): string => `convert it first: qemu-img convert -f ${format} -O raw IMAGE disk.img`;
const unpack = (command: string): string => `unpack it first: ${command}`;

/** A magic number, written as a latin1 string. */
type Magic = readonly [at: number, magic: string, name: string, hint: string];

/** @see each format's specification, and magic(5) */
const MAGICS: readonly Magic[] = [
  [0, 'COWD', 'a VMDK disk image of ESX', convert('vmdk')],
  [0, 'Bochs Virtual HD Image', 'a Bochs disk image', convert('bochs')],
  [0, '#!/bin/sh\n#V2.0 Format\n', 'a cloop disk image', convert('cloop')],
  [0, '\x1f\x8b\x08', 'compressed with gzip', unpack('gunzip --keep IMAGE')],
  [0, '\x1f\x9d', 'compressed with compress', unpack('gunzip --keep IMAGE')],
  [0, '\xfd7zXZ\0', 'compressed with xz', unpack('unxz --keep IMAGE')],
  [0, 'LZIP\x01', 'compressed with lzip', unpack('lzip --decompress --keep IMAGE')],
  [0, '\x89LZO\0\r\n\x1a\n', 'compressed with lzop', unpack('lzop --decompress IMAGE')],
  [0, '\x28\xb5\x2f\xfd', 'compressed with zstd', unpack('unzstd IMAGE')],
  [0, '\x04\x22\x4d\x18', 'compressed with lz4', unpack('unlz4 IMAGE disk.img')],
  [0, 'PK\x03\x04', 'a zip archive', unpack('unzip IMAGE')],
  [0, "7z\xbc\xaf'\x1c", 'a 7z archive', unpack('7z x IMAGE')],
  [0, 'Rar!\x1a\x07', 'a RAR archive', unpack('unrar x IMAGE')],
  [0, 'MSWIM\0\0\0', 'a Windows image (WIM)', 'use a disk image; a WIM is an archive of files'],
  [0, 'xar!', 'a xar archive', unpack('xar -x -f IMAGE')],
  [0, '\x3a\xff\x26\xed', 'a sparse image of Android', unpack('simg2img IMAGE disk.img')],
  [257, 'ustar', 'a tar archive, as an OVA is', unpack('tar -xf IMAGE, then convert the disk in it')],
];

/** In bzip2, the block size is between its magic number and that of the first block, or of the end. */
const BZIP2 = /^BZh[1-9](?:1AY&SY|.rE8P)/s;
/** The start of the text that lists the files of a VMDK. */
const VMDK_DESCRIPTOR = /^#\s*Disk\s+Descriptor\s*File/i;

/** Identifies a file that is not a supported disk image, by its magic number; undefined for any other file.
 *  @param head the first MAGIC_BYTES; @param tail the last 512 bytes. */
export function foreignFormat(head: Buffer, tail: Buffer): ForeignFormat | undefined {
  const start = head.toString('latin1', 0, 1024);
  for (const [at, magic, name, hint] of MAGICS) if (start.startsWith(magic, at)) return { name, hint };
  if (BZIP2.test(start)) return { name: 'compressed with bzip2', hint: unpack('bunzip2 --keep IMAGE') };
  if (VMDK_DESCRIPTOR.test(start)) return { name: 'the descriptor of a VMDK disk image', hint: convert('vmdk') };
  if (tail.toString('latin1', 0, 4) === 'koly') return { name: 'a disk image of macOS (DMG)', hint: convert('dmg') };
  // A hybrid ISO, which also boots from a USB stick, starts with a partition table.
  const isDisk = head.length >= 512 && head.readUInt16LE(510) === 0xaa55;
  if (!isDisk && head.toString('latin1', 0x8001, 0x8006) === 'CD001')
    return {
      name: 'a CD-ROM image (ISO 9660)',
      hint: 'use a disk image; this file has no partition table and boots only from a CD-ROM drive',
    };
  return undefined;
}
