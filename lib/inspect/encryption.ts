import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { AesXts } from '../formats/aes-xts.ts';
import type { Extent } from '../formats/extent.ts';
import { type LuksHeader, readLuksHeader } from '../formats/luks.ts';
import { VOLUME_KEY_BYTES } from '../host-files/disk-secrets.ts';
import type { PrivateDirectory } from '../host-files/private-output.ts';
import { writeAt } from '../host-files/write-at.ts';
import { unlockVolumeKey } from '../programs/cryptsetup.ts';
import { CleanupStack } from '../run/cleanup-stack.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { formatBytes, GIB, MIB, roundDown, roundUp } from '../units.ts';
import type { Budget } from './budget.ts';
import { type FoundFilesystem, readFilesystem } from './filesystems.ts';
import { type Finding, finding } from './finding.ts';
import { type ImageReader, LARGEST_COPY, privateDirectory } from './image-reader.ts';
import type { InspectedPartition } from './inspected-partition.ts';

/** The LUKS2 header of a partition, and the filesystem in it. */
export interface FoundEncryption extends LuksHeader {
  /** The filesystem that is encrypted; undefined without the passphrase. */
  readonly filesystem: FoundFilesystem | undefined;
}

/** Machines for which images are made often have less memory. */
const MUCH_MEMORY = GIB;

/** A filesystem, with the reader in which it is at the given offset. */
export interface OpenedPlace {
  readonly image: ImageReader;
  readonly place: InspectedPartition;
}

interface InspectedEncryption extends AsyncDisposable {
  /** The partitions, with their headers. */
  readonly places: readonly InspectedPartition[];
  /** What the passphrase opened. */
  readonly opened: readonly OpenedPlace[];
  readonly findings: readonly Finding[];
}

/** Reads the LUKS headers, and opens the partitions if there is a passphrase.
 *  @throws {InvalidOptionsError} when it opens none of them. Runs: cryptsetup, blkid, qemu-img. */
export async function inspectEncryption(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  partitions: readonly InspectedPartition[],
  passphrase: Buffer | undefined,
): Promise<InspectedEncryption> {
  const places: InspectedPartition[] = [];
  const opened: OpenedPlace[] = [];
  const findings: Finding[] = [];
  await using readers = new CleanupStack();
  let refused: unknown;
  for (const partition of partitions) {
    const { number } = partition;
    const found =
      partition.filesystem?.type === 'crypto_LUKS'
        ? await budget.part(`the LUKS header of partition ${number}`, undefined, () => readEncryption(image, partition))
        : undefined;
    findings.push(...(found?.findings ?? []));
    const header = found?.header;
    if (header === undefined) {
      places.push(partition);
      continue;
    }
    const inside =
      passphrase === undefined
        ? undefined
        : await budget
            .part(`the encrypted data of partition ${number}`, undefined, () =>
              openEncrypted(step, budget, image, partition, header, passphrase),
            )
            .catch((error: unknown) => {
              if (!(error instanceof InvalidOptionsError)) throw error;
              refused = error;
              return undefined;
            });
    if (typeof inside === 'string') findings.push(notSupported(number, inside));
    if (inside === undefined || typeof inside === 'string') {
      places.push({ ...partition, encryption: { ...header, filesystem: undefined } });
      continue;
    }
    readers.use(inside);
    const place = { ...partition, offsetBytes: 0, sizeBytes: inside.virtualBytes };
    const filesystem = await budget.part(`the filesystem in partition ${number}`, undefined, () =>
      readFilesystem(step, budget, inside, place),
    );
    findings.push(...(filesystem?.findings ?? []));
    opened.push({ image: inside, place: { ...place, filesystem } });
    places.push({ ...partition, encryption: { ...header, filesystem } });
  }
  // What was skipped is in the report already.
  const isSkipped = findings.some(({ code }) => code === NOT_SUPPORTED) || budget.leftOut.length > 0;
  if (passphrase !== undefined && opened.length === 0 && !isSkipped) throw refused ?? nothingToOpen(step.step);
  const kept = readers.move();
  return { places, opened, findings, [Symbol.asyncDispose]: () => kept[Symbol.asyncDispose]() };
}

const NOT_SUPPORTED = 'luks-not-supported';

function notSupported(number: number, why: string): Finding {
  const message = `partition ${number} is not looked into, because ${why}`;
  return finding(NOT_SUPPORTED, 'warning', 'stage 1', message, undefined);
}

function nothingToOpen(step: string): InvalidOptionsError {
  return new InvalidOptionsError(step, [
    { path: 'passphraseFile', message: 'no partition of the image has a LUKS2 header that a passphrase could open' },
  ]);
}

/** Reads the LUKS2 header of a partition. @returns undefined for the header when there is none that can be read. */
async function readEncryption(
  image: ImageReader,
  { number, offsetBytes, sizeBytes }: Extent & { readonly number: number },
): Promise<{ readonly header: LuksHeader | undefined; readonly findings: readonly Finding[] }> {
  // LUKS1 has no second copy and no checksum.
  if ((await image.read(offsetBytes + 6, 2)).toString('hex') === '0001') return { header: undefined, findings: [] };
  const header = await readLuksHeader(await image.part(offsetBytes, sizeBytes));
  const say = (code: string, severity: Finding['severity'], message: string): Finding =>
    finding(code, severity, 'stage 1', `the LUKS header of partition ${number} ${message}`, undefined);
  if (header === undefined)
    return { header, findings: [say('luks-header-damaged', 'fatal', 'is damaged, and so is its second copy')] };
  if (header === 'not understood')
    return { header: undefined, findings: [notSupported(number, 'its LUKS header is of an unknown kind')] };
  const { keySlots, dataOffsetBytes, dataBytes = sizeBytes - dataOffsetBytes, sectorBytes } = header;
  const findings: Finding[] = [];
  if (header.isSecondCopy)
    findings.push(say('luks-header-damaged', 'warning', 'is damaged; cryptsetup uses its second copy'));
  if (keySlots.length === 0)
    findings.push(say('luks-no-key-slot', 'warning', 'has no key slot: no passphrase opens it'));
  if (dataBytes <= 0 || dataOffsetBytes + dataBytes > sizeBytes)
    findings.push(say('luks-header-damaged', 'fatal', 'says that the data end beyond the end of the partition'));
  else if (dataBytes % sectorBytes !== 0)
    findings.push(
      say(
        'luks-not-aligned',
        'fatal',
        `has sectors of ${sectorBytes} bytes, which do not divide its ${dataBytes} bytes of data: no kernel opens it`,
      ),
    );
  const memory = Math.min(...keySlots.map(({ memoryBytes = 0 }) => memoryBytes));
  if (keySlots.length > 0 && memory >= MUCH_MEMORY)
    findings.push(say('luks-needs-memory', 'warning', `needs ${formatBytes(memory)} of memory to be opened`));
  return { header, findings };
}

/** Both copies and the key slots are smaller. @see LUKS2 On-Disk Format Specification, 2.5 */
const LARGEST_HEADER = 256 * MIB;

/** Opens an encrypted partition with a passphrase.
 *  @returns a reader whose offsets begin at the encrypted filesystem; or why it is not supported, in words that follow "because".
 *  @throws {InvalidOptionsError} when the passphrase opens no key slot. Runs: cryptsetup, qemu-img. */
async function openEncrypted(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  { offsetBytes, sizeBytes }: Extent,
  { cipher, dataOffsetBytes, dataBytes, sectorBytes, isSupported }: LuksHeader,
  passphrase: Uint8Array,
): Promise<ImageReader | string> {
  if (!isSupported) return `its data are encrypted with ${cipher}, or are being encrypted`;
  // A detached header, or none that cryptsetup makes.
  if (dataOffsetBytes === 0 || dataOffsetBytes > LARGEST_HEADER) return `its data begin at byte ${dataOffsetBytes}`;
  await using directory = await privateDirectory(step.step);
  const file = await image.asFile(offsetBytes, dataOffsetBytes);
  const volumeKey = join(directory.path, 'volume-key');
  const key = await unlockVolumeKey(step, { file, passphrase, volumeKey, signal: budget.signal });
  // AES-128, whose key for XTS has 256 bits.
  if (key.length !== VOLUME_KEY_BYTES) return `its key has ${key.length * 8} bits`;
  const room = Math.max(0, Math.min(sizeBytes, image.virtualBytes - offsetBytes) - dataOffsetBytes);
  const payload = { offsetBytes: offsetBytes + dataOffsetBytes, sizeBytes: Math.min(room, dataBytes ?? room) };
  return decrypted(step, budget, image, payload, sectorBytes, key);
}

function decrypted(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  payload: Extent,
  sectorBytes: number,
  key: Uint8Array,
): ImageReader {
  const cipher = new AesXts('decrypt', key, sectorBytes);
  const virtualBytes = roundDown(payload.sizeBytes, sectorBytes);
  let directory: Promise<PrivateDirectory> | undefined;
  const read = async (at: number, bytes: number): Promise<Buffer> => {
    budget.check();
    const start = roundDown(Math.max(0, at), sectorBytes);
    const end = Math.min(roundUp(at + bytes, sectorBytes), virtualBytes);
    if (end <= start) return Buffer.alloc(0);
    const sealed = await image.read(payload.offsetBytes + start, end - start);
    const whole = sealed.subarray(0, roundDown(sealed.length, sectorBytes));
    cipher.update(start, whole);
    return whole.subarray(at - start, at - start + bytes);
  };
  const copy = async (at: number, bytes: number): Promise<string> => {
    if (bytes > LARGEST_COPY) throw new RangeError(`${bytes} bytes are too many to decrypt into a file`);
    directory ??= privateDirectory(step.step);
    const file = join((await directory).path, `${at}-${bytes}.img`);
    await using handle = await open(file, 'w', 0o600);
    for (let done = 0; done < bytes; done += MIB)
      await writeAt(handle, done, await read(at + done, Math.min(MIB, bytes - done)));
    return file;
  };
  return {
    virtualBytes,
    isRaw: false,
    read,
    part: async (offsetBytes, bytes) => (at, wanted) =>
      read(offsetBytes + at, Math.max(0, Math.min(wanted, bytes - at))),
    asRaw: async (offsetBytes, bytes) => ({ image: await copy(offsetBytes, bytes), offsetBytes: 0 }),
    asFile: copy,
    async [Symbol.asyncDispose]() {
      await (await directory)?.[Symbol.asyncDispose]();
    },
  };
}
