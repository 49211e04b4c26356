import { createHash } from 'node:crypto';
import { z } from 'zod';
import { KIB, MIB } from '../units.ts';
import type { Extent, ReadBytes } from './extent.ts';

/** Where the encrypted data begins in a partition that this project encrypts: cryptsetup's default for LUKS2, 16 MiB. Before it are
 *  the two headers and the key slots. */
export const LUKS_HEADER_BYTES = 16 * MIB;

/** The part of a partition in which its filesystem must be, for encryptPartition to encrypt it in place. */
export function luksPayload({ offsetBytes, sizeBytes }: Extent): Extent {
  return { offsetBytes: offsetBytes + LUKS_HEADER_BYTES, sizeBytes: sizeBytes - LUKS_HEADER_BYTES };
}

/** A way to unlock the volume key. */
export interface LuksKeySlot {
  readonly id: number;
  /** "argon2id", "argon2i" or "pbkdf2". */
  readonly keyDerivation: string;
  /** The memory that unlocking needs; undefined for pbkdf2. */
  readonly memoryBytes: number | undefined;
  readonly iterations: number;
}

/** What a LUKS2 header says. */
export interface LuksHeader {
  readonly uuid: string;
  readonly label: string;
  /** "aes-xts-plain64". */
  readonly cipher: string;
  readonly sectorBytes: number;
  /** Where the encrypted data begins in the partition. */
  readonly dataOffsetBytes: number;
  /** The size of the encrypted data; undefined if they take the rest of the partition. */
  readonly dataBytes: number | undefined;
  readonly keySlots: readonly LuksKeySlot[];
  /** The types of its tokens: "systemd-tpm2", "systemd-recovery" … */
  readonly tokens: readonly string[];
  /** Whether the data are encrypted in a way that this project decrypts: AES-256-XTS in one segment, and not being encrypted at the moment. */
  readonly isSupported: boolean;
  /** Whether only the second copy of the header is intact; cryptsetup then uses it silently. */
  readonly isSecondCopy: boolean;
}

/** @see LUKS2 On-Disk Format Specification, 2.1 "Binary header": both copies, of which the second may be at these places. */
const MAGIC = 'LUKS\xba\xbe';
const SECOND_MAGIC = 'SKUL\xba\xbe';
const BINARY_BYTES = 4096;
const CHECKSUMS = new Set(['sha1', 'sha224', 'sha256', 'sha384', 'sha512']);
const SECOND_COPIES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096].map((size) => size * KIB);
const LARGEST_HEADER = 4 * MIB;

/** A number that the JSON has as a string, because it may exceed 53 bits. */
const bigNumber = z
  .string()
  .regex(/^\d{1,16}$/)
  .transform(Number);

/** @see LUKS2 On-Disk Format Specification, 3.2: at most 32 key slots and tokens. A hostile header may have more. */
const MOST = 32;
const few = (value: object): boolean => Object.keys(value).length <= MOST;

const count = z.int().min(0);

const metadata = z.object({
  keyslots: z
    .record(
      z.string(),
      z.object({
        type: z.string().max(32),
        kdf: z
          .object({
            type: z.string().max(32),
            time: count.optional(),
            iterations: count.optional(),
            memory: count.optional(),
          })
          .optional(),
      }),
    )
    .refine(few),
  tokens: z
    .record(z.string(), z.object({ type: z.string().max(128) }))
    .refine(few)
    .default({}),
  segments: z
    .record(
      z.string(),
      z.object({
        type: z.string(),
        offset: bigNumber,
        size: z.union([z.literal('dynamic'), bigNumber]),
        encryption: z.string().max(128).optional(),
        sector_size: z.literal([512, 1024, 2048, 4096]).optional(),
        iv_tweak: z.string().optional(),
        integrity: z.unknown().optional(),
      }),
    )
    .refine(few),
});

/** Reads the LUKS2 header of a partition. @returns undefined when neither copy is intact; "not understood" for one that may be intact, with
 *  another checksum or other metadata than this project knows. */
export async function readLuksHeader(read: ReadBytes): Promise<LuksHeader | 'not understood' | undefined> {
  const first = await readCopy(read, 0, MAGIC);
  if (first !== undefined) return parse(first, false);
  for (const at of SECOND_COPIES) {
    const second = await readCopy(read, at, SECOND_MAGIC);
    if (second !== undefined) return parse(second, true);
  }
  return undefined;
}

async function readCopy(read: ReadBytes, at: number, magic: string): Promise<Buffer | 'not understood' | undefined> {
  const binary = await read(at, BINARY_BYTES);
  if (binary.length < BINARY_BYTES || binary.toString('latin1', 0, 6) !== magic || binary.readUInt16BE(6) !== 2)
    return undefined;
  const size = binary.readBigUInt64BE(8);
  if (size <= BINARY_BYTES || size > LARGEST_HEADER || binary.readBigUInt64BE(256) !== BigInt(at)) return undefined;
  const header = Buffer.from(await read(at, Number(size)));
  if (header.length < Number(size)) return undefined;
  const checksum = Buffer.from(header.subarray(448, 512));
  header.fill(0, 448, 512);
  const algorithm = text(header.subarray(72, 104));
  if (!CHECKSUMS.has(algorithm)) return 'not understood';
  const computed = createHash(algorithm).update(header).digest();
  return computed.equals(checksum.subarray(0, computed.length)) ? header : undefined;
}

function parse(header: Buffer | 'not understood', isSecondCopy: boolean): LuksHeader | 'not understood' {
  if (header === 'not understood') return header;
  const json = parseJson(text(header.subarray(BINARY_BYTES)));
  const parsed = metadata.safeParse(json);
  const segment = parsed.success ? Object.values(parsed.data.segments).find(({ type }) => type === 'crypt') : undefined;
  if (!parsed.success || segment === undefined) return 'not understood';
  // Others, such as "reencrypt", unlock nothing.
  const slots = Object.entries(parsed.data.keyslots).filter(([, { type }]) => type === 'luks2');
  const keySlots = slots.map(([id, { kdf }]) => ({
    id: Number(id),
    keyDerivation: kdf?.type ?? 'unknown',
    memoryBytes: kdf?.memory === undefined ? undefined : kdf.memory * KIB,
    iterations: kdf?.time ?? kdf?.iterations ?? 0,
  }));
  return {
    uuid: text(header.subarray(168, 208)),
    label: text(header.subarray(24, 72)),
    cipher: segment.encryption ?? '',
    sectorBytes: segment.sector_size ?? 512,
    dataOffsetBytes: segment.offset,
    dataBytes: segment.size === 'dynamic' ? undefined : segment.size,
    keySlots,
    isSupported:
      Object.keys(parsed.data.segments).length === 1 &&
      segment.encryption === 'aes-xts-plain64' &&
      (segment.iv_tweak ?? '0') === '0' &&
      segment.integrity === undefined,
    tokens: Object.values(parsed.data.tokens).map(({ type }) => type),
    isSecondCopy,
  };
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}
