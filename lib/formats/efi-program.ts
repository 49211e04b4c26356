import type { Extent, ReadBytes } from './extent.ts';

/** An EFI program, identified by its content. */
export interface EfiProgram {
  /** From the partition's root: `EFI/BOOT/BOOTX64.EFI`. */
  readonly file: string;
  readonly partition: number;
  readonly bytes: number;
  /** As in file names of loaders: x64, aa64, ia32 …; `unknown` for any other machine type. */
  readonly architecture: string;
  /** Whether it has a certificate table. */
  readonly signed: boolean;
  /** Whether it is as long as its header says. */
  readonly complete: boolean;
  readonly kind: 'systemd-boot' | 'grub' | 'uki' | 'kernel' | 'shim' | 'other';
}

interface Section {
  readonly offset: number;
  /** In the file. */
  readonly bytes: number;
  readonly used: number;
}

/** The header of a PE file. */
export interface Pe {
  readonly architecture: string;
  readonly signed: boolean;
  /** How long the file must be. */
  readonly expectedBytes: number;
  readonly sections: ReadonlyMap<string, Section>;
  /** Where signatures and the sizes that matter to them are, in bytes from the start of the file. */
  readonly signing: {
    readonly checksumAt: number;
    /** The entry of the data directory that names the table of certificates. */
    readonly directoryAt: number;
    readonly headerBytes: number;
    /** The sections that have bytes in the file, in the order of those. */
    readonly sections: readonly Extent[];
    readonly certificates: Extent;
  };
}

/** Machine types of EFI programs. @see PE format, "Machine types" */
const MACHINES: Readonly<Record<number, string>> = {
  332: 'ia32',
  450: 'arm',
  452: 'arm',
  512: 'ia64',
  20530: 'riscv32',
  20580: 'riscv64',
  25124: 'loongarch64',
  34404: 'x64',
  43620: 'aa64',
};

/** The architectures in file names of loaders at the removable media path. @see UEFI specification 3.5.1.1 */
export const EFI_ARCHITECTURES: ReadonlySet<string> = new Set(Object.values(MACHINES));

const PE_HEADER_BYTES = 24;
const SECTION_BYTES = 40;
const MOST_SECTIONS = 96;
const CERTIFICATES = 4;

/** Reads the header of an EFI program; undefined when it is not one. */
export async function readPe(read: ReadBytes): Promise<Pe | undefined> {
  const dos = await read(0, 64);
  if (dos.length < 64 || dos.toString('latin1', 0, 2) !== 'MZ') return undefined;
  const at = dos.readUInt32LE(0x3c);
  const header = await read(at, PE_HEADER_BYTES);
  if (header.length < PE_HEADER_BYTES || header.readUInt32LE(0) !== 0x4550) return undefined;
  const architecture = MACHINES[header.readUInt16LE(4)] ?? 'unknown';
  const count = Math.min(header.readUInt16LE(6), MOST_SECTIONS);
  const optionalBytes = header.readUInt16LE(20);
  const optional = await read(at + PE_HEADER_BYTES, optionalBytes);
  const number = (offset: number): number => (offset + 4 <= optional.length ? optional.readUInt32LE(offset) : 0);
  const directories = optional.length >= 2 && optional.readUInt16LE(0) === 0x20b ? 112 : 96;
  const hasCertificates = number(directories - 4) > CERTIFICATES;
  const certificates = {
    offsetBytes: hasCertificates ? number(directories + 8 * CERTIFICATES) : 0,
    sizeBytes: hasCertificates ? number(directories + 8 * CERTIFICATES + 4) : 0,
  };
  const tableAt = at + PE_HEADER_BYTES + optionalBytes;
  const table = await read(tableAt, count * SECTION_BYTES);
  const sections = new Map<string, Section>();
  const inFile: Extent[] = [];
  let expectedBytes = Math.max(
    number(60),
    tableAt + count * SECTION_BYTES,
    certificates.offsetBytes + certificates.sizeBytes,
  );
  for (let index = 0; (index + 1) * SECTION_BYTES <= table.length; index += 1) {
    const entry = table.subarray(index * SECTION_BYTES, (index + 1) * SECTION_BYTES);
    const [used, bytes, offset] = [entry.readUInt32LE(8), entry.readUInt32LE(16), entry.readUInt32LE(20)];
    const name = entry.toString('latin1', 0, 8).replace(/\0.*$/s, '');
    sections.set(name, { offset, bytes, used: Math.min(used || bytes, bytes) });
    if (offset > 0) expectedBytes = Math.max(expectedBytes, offset + bytes);
    if (bytes > 0) inFile.push({ offsetBytes: offset, sizeBytes: bytes });
  }
  const optionalAt = at + PE_HEADER_BYTES;
  const signing = {
    checksumAt: optionalAt + 64,
    directoryAt: optionalAt + directories + 8 * CERTIFICATES,
    headerBytes: number(60),
    sections: inFile.sort((a, b) => a.offsetBytes - b.offsetBytes),
    certificates,
  };
  return { architecture, signed: certificates.sizeBytes > 0, expectedBytes, sections, signing };
}

/** Reads the text of a UKI's section, such as the kernel command line or os-release. At most 64 KiB. */
export async function readSection(read: ReadBytes, pe: Pe, name: string): Promise<string | undefined> {
  const section = pe.sections.get(name);
  if (section === undefined) return undefined;
  const content = await read(section.offset, Math.min(section.used, 64 * 1024));
  return content.toString('utf8').replace(/\0.*$/s, '');
}

/** How much of a program is searched for its name. */
const SEARCHED_BYTES = 2 * 1024 * 1024;

export async function kindOf(read: ReadBytes, pe: Pe): Promise<EfiProgram['kind']> {
  if (pe.sections.has('.linux')) return 'uki';
  if (pe.sections.has('mods')) return 'grub';
  const head = await read(0, 0x210);
  if (isKernel(head)) return 'kernel';
  const magic = await readSection(read, pe, '.sdmagic');
  if (magic !== undefined) return /systemd-boot/.test(magic) ? 'systemd-boot' : 'other';
  const content = await read(0, SEARCHED_BYTES);
  if (content.includes('LoaderInfo: systemd-boot')) return 'systemd-boot';
  return content.includes('UEFI SHIM') ? 'shim' : 'other';
}

/** Whether a file starts like a kernel: a bzImage, an arm64 or riscv Image, or a compressed EFI kernel.
 *  @see the kernel's Documentation/arch/{x86/boot,arm64/booting,riscv/boot-image-header}.rst */
function isKernel(head: Buffer): boolean {
  if (head.length < 0x40) return false;
  if (head.length >= 0x206 && head.toString('latin1', 0x202, 0x206) === 'HdrS') return true;
  const magic = head.toString('latin1', 0x38, 0x3c);
  return magic === 'ARM\x64' || magic === 'RSC\x05' || head.toString('latin1', 4, 8) === 'zimg';
}

/** The size of a bzImage in bytes, according to its header; undefined when it is not one.
 *  @see the kernel's Documentation/arch/x86/boot.rst, "setup_sects" and "syssize" */
export function bzImageBytes(head: Buffer): number | undefined {
  if (head.length < 0x210 || head.toString('latin1', 0x202, 0x206) !== 'HdrS') return undefined;
  return ((head[0x1f1] || 4) + 1) * 512 + head.readUInt32LE(0x1f4) * 16;
}
