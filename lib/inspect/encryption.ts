import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AesXts } from '../formats/aes-xts.ts';
import type { Extent } from '../formats/extent.ts';
import { type LuksHeader, readLuksHeader } from '../formats/luks.ts';
import { makePrivateDirectory, type PrivateDirectory } from '../host-files/private-output.ts';
import { writeAt } from '../host-files/write-at.ts';
import { unlockVolumeKey } from '../programs/cryptsetup.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { GIB, MIB, roundDown, roundUp } from '../units.ts';
import type { Budget } from './budget.ts';
import { type FoundFilesystem, readFilesystem } from './filesystems.ts';
import { type Finding, finding } from './finding.ts';
import { type ImageReader, LARGEST_COPY } from './image-reader.ts';
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
  let refused: unknown;
  for (const partition of partitions) {
    if (partition.filesystem?.type !== 'crypto_LUKS') {
      places.push(partition);
      continue;
    }
    const what = `the LUKS header of partition ${partition.number}`;
    const found = await budget.part(what, undefined, () => readEncryption(image, partition));
    findings.push(...(found?.findings ?? []));
    const header = found?.header;
    if (header === undefined) {
      places.push(partition);
      continue;
    }
    if (passphrase !== undefined && !header.isSupported)
      findings.push(
        notSupported(partition.number, `its data are encrypted with ${header.cipher}, or are being encrypted`),
      );
    const inside =
      passphrase === undefined || !header.isSupported
        ? undefined
        : await openEncrypted(step, budget, image, partition, header, passphrase).catch((error: unknown) => {
            if (!(error instanceof InvalidOptionsError)) throw error;
            refused = error;
            return undefined;
          });
    if (inside === 'other key') findings.push(notSupported(partition.number, 'its key does not have 512 bits'));
    if (inside === undefined || inside === 'other key') {
      places.push({ ...partition, encryption: { ...header, filesystem: undefined } });
      continue;
    }
    const place = { ...partition, offsetBytes: 0, sizeBytes: inside.virtualBytes };
    const filesystem = await budget.part(`the filesystem in partition ${partition.number}`, undefined, () =>
      readFilesystem(step, budget, inside, place),
    );
    findings.push(...(filesystem?.findings ?? []));
    opened.push({ image: inside, place: { ...place, filesystem } });
    places.push({ ...partition, encryption: { ...header, filesystem } });
  }
  const isAnyLeft = findings.some(({ code }) => code === 'luks-not-supported');
  if (passphrase !== undefined && opened.length === 0 && !isAnyLeft) throw refused ?? nothingToOpen(step.step);
  return {
    ...{ places, opened, findings },
    async [Symbol.asyncDispose]() {
      for (const one of opened) await one.image[Symbol.asyncDispose]();
    },
  };
}

function notSupported(number: number, why: string): Finding {
  const message = `partition ${number} is not inspected: ${why}`;
  return finding('luks-not-supported', 'warning', 'stage 1', message, undefined);
}

function nothingToOpen(step: string): InvalidOptionsError {
  return new InvalidOptionsError(step, [
    { path: 'passphraseFile', message: 'no partition of the image has a LUKS2 header that a passphrase could open' },
  ]);
}

/** Reads the LUKS2 header of a partition. @returns undefined for the header when neither copy is intact. */
async function readEncryption(
  image: ImageReader,
  { number, offsetBytes, sizeBytes }: Extent & { readonly number: number },
): Promise<{ readonly header: LuksHeader | undefined; readonly findings: readonly Finding[] }> {
  const header = await readLuksHeader(await image.part(offsetBytes, sizeBytes));
  const say = (code: string, severity: Finding['severity'], message: string): Finding =>
    finding(code, severity, 'stage 1', `the LUKS header of partition ${number} ${message}`, undefined);
  // LUKS1 has no second copy and no checksum.
  const isFirstVersion = (await image.read(offsetBytes + 6, 2)).toString('hex') === '0001';
  if (header === undefined)
    return {
      header,
      findings: isFirstVersion ? [] : [say('luks-header-damaged', 'fatal', 'is damaged, and so is its second copy')],
    };
  const findings: Finding[] = [];
  if (header.isSecondCopy)
    findings.push(say('luks-header-damaged', 'warning', 'is damaged; cryptsetup uses its second copy'));
  if (header.keySlots.length === 0)
    findings.push(say('luks-no-key-slot', 'fatal', 'has no key slot: no passphrase opens it'));
  if (header.dataOffsetBytes >= sizeBytes)
    findings.push(say('luks-header-damaged', 'fatal', 'says that the data begin beyond the end of the partition'));
  const memory = Math.min(...header.keySlots.map(({ memoryBytes = 0 }) => memoryBytes));
  if (header.keySlots.length > 0 && memory >= MUCH_MEMORY)
    findings.push(say('luks-needs-memory', 'warning', `needs ${memory / GIB} GiB of memory to be opened`));
  return { header, findings };
}

/** Opens an encrypted partition with a passphrase. @returns a reader whose offsets begin at the encrypted filesystem.
 *  @throws {InvalidOptionsError} when the passphrase opens no key slot. Runs: cryptsetup, qemu-img. */
async function openEncrypted(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  { offsetBytes, sizeBytes }: Extent,
  header: LuksHeader,
  passphrase: Uint8Array,
): Promise<ImageReader | 'other key'> {
  await using directory = await makePrivateDirectory(tmpdir());
  const file = await image.asFile(offsetBytes, header.dataOffsetBytes);
  const key = await unlockVolumeKey(step, { file, passphrase, volumeKey: join(directory.path, 'volume-key') });
  // AES-128, whose key for XTS has 256 bits.
  if (key.length !== 64) return 'other key';
  const payload = {
    offsetBytes: offsetBytes + header.dataOffsetBytes,
    sizeBytes: Math.max(0, Math.min(sizeBytes, image.virtualBytes - offsetBytes) - header.dataOffsetBytes),
  };
  return decrypted(budget, image, payload, header.sectorBytes, key);
}

function decrypted(
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
    directory ??= makePrivateDirectory(tmpdir());
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
