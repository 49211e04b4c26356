/** What images are converted to, and their files' names. */

/** make-disk-image's own formats, and those besides that qemu-img writes. */
export const IMAGE_FORMATS = [
  'raw',
  'qcow2',
  'qcow2-compressed',
  'vdi',
  'vpc',
  'vmdk',
  'vhdx',
  'qcow',
  'qed',
  'parallels',
] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** What machines boot from, and what is looked into here. */
const DISK_FORMATS = ['raw', 'qcow2', 'vdi', 'vpc'] as const;
export type DiskFormat = (typeof DISK_FORMATS)[number];

/** qemu-img's name for a format. */
export function driverOf(format: ImageFormat): Exclude<ImageFormat, 'qcow2-compressed'> {
  return format === 'qcow2-compressed' ? 'qcow2' : format;
}

/** A format that is read here, too; undefined for one that is only written. */
export function diskFormatOf(format: ImageFormat): DiskFormat | undefined {
  const driver = driverOf(format);
  return DISK_FORMATS.find((one) => one === driver);
}

/** A vhdx has identifiers at random, whose checksums are spread over the file. */
export const FORMATS_OF_CHANCE: readonly ImageFormat[] = ['vhdx'];

/** make-disk-image's file name endings; that of any other is the format's name. */
const EXTENSIONS: Readonly<Partial<Record<ImageFormat, string>>> = {
  raw: 'img',
  'qcow2-compressed': 'qcow2',
  vpc: 'vhd',
};

/** The file name make-disk-image gives an image: `nixos.img`, `.qcow2`, `.vdi`, `.vhd`, `.vmdk` … */
export function imageFileName(baseName: string, format: ImageFormat): string {
  return `${baseName}.${EXTENSIONS[format] ?? format}`;
}
