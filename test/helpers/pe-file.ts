const MACHINES = { x64: 0x8664, aa64: 0xaa64, ia32: 0x14c, arm: 0x1c2 } as const;
const AT = 0x80;
const OPTIONAL_BYTES = 240;
const ALIGNMENT = 512;

export interface PeFileOptions {
  readonly architecture?: keyof typeof MACHINES;
  /** Section names and contents. */
  readonly sections?: Readonly<Record<string, string | Buffer>>;
  readonly signed?: boolean;
  /** Whether it starts with a bzImage header, as a kernel with an EFI stub does. */
  readonly isKernel?: boolean;
}

/** Builds an EFI program with headers only. @see PE format */
export function peFile({
  architecture = 'x64',
  sections = {},
  signed = false,
  isKernel = false,
}: PeFileOptions): Buffer {
  const contents = Object.entries({ '.text': 'code', ...sections });
  const headerBytes = 2048;
  const header = Buffer.alloc(headerBytes);
  header.write('MZ', 0, 'latin1');
  header.writeUInt32LE(AT, 0x3c);
  header.write('PE\0\0', AT, 'latin1');
  header.writeUInt16LE(MACHINES[architecture], AT + 4);
  header.writeUInt16LE(contents.length, AT + 6);
  header.writeUInt16LE(OPTIONAL_BYTES, AT + 20);
  const optional = AT + 24;
  header.writeUInt16LE(0x20b, optional);
  header.writeUInt32LE(headerBytes, optional + 60);
  header.writeUInt32LE(16, optional + 108);
  const parts = [header];
  let at = headerBytes;
  for (const [index, [name, content]] of contents.entries()) {
    const bytes = Buffer.from(content);
    const padded = Buffer.alloc(Math.ceil(Math.max(bytes.length, 1) / ALIGNMENT) * ALIGNMENT);
    bytes.copy(padded);
    // After the bzImage header, which ends at 0x210.
    const entry = optional + OPTIONAL_BYTES + 40 * index;
    header.write(name, entry, 8, 'latin1');
    header.writeUInt32LE(bytes.length, entry + 8);
    header.writeUInt32LE(padded.length, entry + 16);
    header.writeUInt32LE(at, entry + 20);
    parts.push(padded);
    at += padded.length;
  }
  if (signed) {
    header.writeUInt32LE(at, optional + 112 + 8 * 4);
    header.writeUInt32LE(ALIGNMENT, optional + 112 + 8 * 4 + 4);
    parts.push(Buffer.alloc(ALIGNMENT, 1));
    at += ALIGNMENT;
  }
  if (isKernel) {
    header[0x1f1] = 3;
    header.write('HdrS', 0x202, 'latin1');
    header.writeUInt32LE((at - 4 * 512) / 16, 0x1f4);
  }
  return Buffer.concat(parts);
}

/** An EFI program with the section that identifies systemd-boot. */
export const SYSTEMD_BOOT = peFile({ sections: { '.sdmagic': '#### LoaderInfo: systemd-boot 254 ####' } });
export const KERNEL = peFile({ isKernel: true, sections: { '.data': Buffer.alloc(20_000, 7) } });

/** A unified kernel image. */
export function uki(commandLine: string, release = 'ID=test\nVERSION_ID=1\n'): Buffer {
  return peFile({ sections: { '.linux': KERNEL, '.initrd': 'initrd', '.cmdline': commandLine, '.osrel': release } });
}
