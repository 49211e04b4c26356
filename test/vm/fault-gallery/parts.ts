// Patterns of files on an ESP, and changes to them.

export const INITRD = /initrd/i;
/** Does not match GRUB's module of that name. */
export const KERNEL = /(?:linux|bzimage|kernel|vmlinuz)[^/.]*(?:\.efi)?$/i;
export const GRUB_CFG = /grub\.cfg$/;
export const BOOTX64 = /\/BOOTX64\.EFI$/i;
export const LOADER_CONF = /loader\/loader\.conf$/;
export const ENTRY = /loader\/entries\/[^/]*\.conf$/;

/** The first line of work in the demo's stage 2. */
export const ACTIVATION = 'echo "running activation script..."';

export const half = (content: Buffer): Buffer => content.subarray(0, Math.floor(content.length / 2));

/** Changes a text file; the result must be different. */
export const text =
  (change: (content: string) => string) =>
  (content: Buffer): string => {
    const before = content.toString('utf8');
    const after = change(before);
    if (after === before) throw new Error(`the file is not what the fault takes it for: ${before.slice(0, 300)}`);
    return after;
  };

/** A pattern that matches exactly this name. */
export const exactly = (name: string): RegExp => new RegExp(`^${name.replaceAll('.', '\\.')}$`);

/** Makes the header of an EFI program claim that it is for aarch64. @see Microsoft, "PE Format", "COFF File Header" */
export function forArm(program: Buffer): Buffer {
  program.writeUInt16LE(0xaa64, program.readUInt32LE(0x3c) + 4);
  return program;
}
