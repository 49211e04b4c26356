/** What images are converted to, and their files' names. */

export const IMAGE_FORMATS = ['raw', 'qcow2', 'qcow2-compressed', 'vdi', 'vpc'] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** make-disk-image's file name endings. */
const EXTENSIONS: Readonly<Record<ImageFormat, string>> = {
  raw: 'img',
  qcow2: 'qcow2',
  'qcow2-compressed': 'qcow2',
  vdi: 'vdi',
  vpc: 'vhd',
};

/** The file name make-disk-image gives an image: `nixos.img`, `.qcow2`, `.vdi`, `.vhd`. */
export function imageFileName(baseName: string, format: ImageFormat): string {
  return `${baseName}.${EXTENSIONS[format]}`;
}
