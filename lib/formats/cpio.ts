/** A file in an archive of an initrd. */
export interface CpioEntry {
  /** Without a leading "./" or slash. */
  readonly path: string;
  readonly mode: number;
  readonly content: Buffer;
}

const MAGICS = ['070701', '070702'];
const HEADER_BYTES = 110;
const TRAILER = 'TRAILER!!!';
const LINK = 0o120000;
const TYPE = 0o170000;

/** Whether a cpio archive begins at a position. */
export function isCpio(bytes: Buffer, at: number): boolean {
  return MAGICS.includes(bytes.toString('latin1', at, at + 6));
}

/** Whether an entry is a symbolic link; its content is the target. */
export function isLink({ mode }: CpioEntry): boolean {
  return (mode & TYPE) === LINK;
}

/** Reads the entries of a cpio archive as the kernel unpacks it. A damaged archive ends early. @returns where the archive ends.
 *  @see Documentation/driver-api/early-userspace/buffer-format.rst */
export function* cpioEntries(bytes: Buffer, start = 0): Generator<CpioEntry, number> {
  let at = start;
  while (isCpio(bytes, at)) {
    const field = (index: number): number =>
      Number.parseInt(bytes.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, size, nameBytes] = [field(1), field(6), field(11)];
    const nameEnd = at + HEADER_BYTES + nameBytes;
    const contentAt = aligned(nameEnd);
    const next = aligned(contentAt + size);
    if (!Number.isSafeInteger(next) || nameBytes < 1 || contentAt + size > bytes.length) return bytes.length;
    const path = bytes.toString('utf8', at + HEADER_BYTES, nameEnd - 1).replace(/^\.?\/+/, '');
    at = next;
    if (path === TRAILER) return at;
    yield { path, mode, content: bytes.subarray(contentAt, contentAt + size) };
  }
  return at;
}

function aligned(at: number): number {
  return Math.ceil(at / 4) * 4;
}
