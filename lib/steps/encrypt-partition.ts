import { randomBytes } from 'node:crypto';
import { open, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type ByteRange, dataRanges } from '../filesystem/data-runs.ts';
import { encryptRegion } from '../filesystem/encrypt-region.ts';
import { freeRuns, knowsFreeBlocks } from '../filesystem/ext4/free-runs.ts';
import { openExt4 } from '../filesystem/ext4/open.ts';
import { parseXfs, xfsSectorBytes } from '../filesystem/xfs.ts';
import type { Extent } from '../formats/extent.ts';
import { LUKS_HEADER_BYTES, type LuksHeader, luksPayload, readLuksHeader } from '../formats/luks.ts';
import { readPassphrase, readVolumeKey, VOLUME_KEY_BYTES } from '../host-files/disk-secrets.ts';
import { requireDisk, requireNewFile } from '../host-files/given-paths.ts';
import { makePrivateDirectory } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import { hostHasNoRoom, requireRoom } from '../host-files/room.ts';
import { makeSparseFile } from '../host-files/sparse-file.ts';
import { writeAt } from '../host-files/write-at.ts';
import { importToken, luksAddKey, luksFormat } from '../programs/cryptsetup.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { isErrno } from '../run/errno.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import {
  guid,
  keyDerivation,
  LUKS_SECTOR_SIZES,
  luksLabel,
  partitionExtent,
  path,
  secretFile,
} from '../spec/fields.ts';
import { GIB, MIB, SECTOR_BYTES } from '../units.ts';

const STEP = 'encryptPartition';
/** Smaller holes are read faster than the host is asked for them, which writes the file to its disk first. */
const LARGE_HOLES = 8 * GIB;

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The partition, as partitionDisk returns it. Its filesystem is in `luksPayload(partition)`, and the bytes before that are zero. */
  partition: partitionExtent,
  /** A file with the passphrase. One newline at its end is not part of it. */
  passphraseFile: secretFile,
  /** Files with further passphrases, each for a separate key slot. */
  morePassphraseFiles: z.array(secretFile).max(30).default([]),
  /** A file to write a recovery key to, for one more key slot. It must not exist. */
  recoveryKeyFile: secretFile.optional(),
  /** A file with the 64 bytes of the volume key; default: random. The same key gives the same encrypted bytes. */
  volumeKeyFile: secretFile.optional(),
  /** The UUID of the LUKS header, as in /dev/disk/by-uuid; default: random. */
  uuid: guid.optional(),
  /** The label of the LUKS header. */
  label: luksLabel.optional(),
  /** Default: argon2id with 256 MiB of memory, 4 iterations and 4 threads. */
  keyDerivation: keyDerivation.default({ type: 'argon2id' }),
  /** The sector size of the opened device: 512 or 4096. Default: 4096, which is faster, if the partition has whole sectors of that size and
   *  its filesystem supports it. */
  sectorSize: z.literal(LUKS_SECTOR_SIZES).optional(),
  /** Also encrypt the free parts of the filesystem, so that its fill level is not visible; default false, which keeps the image sparse. Only
   *  the free parts of an ext4 are known. */
  encryptFreeSpace: z.boolean().default(false),
});

export interface EncryptPartitionOptions extends z.input<typeof schema> {}

/** The header, read back, and the place of the encrypted filesystem. */
export interface EncryptedPartition extends LuksHeader {
  /** The encrypted filesystem in the image. */
  readonly payload: Extent;
  /** How many bytes of it were encrypted. The others are free in the filesystem. */
  readonly encryptedBytes: number;
}

/** Encrypts the filesystem of a partition with LUKS2, in place, without root, device mapper or VM. The header is made by cryptsetup; the
 *  content is encrypted by this process with AES-256-XTS.
 *
 *  The header is random by design: of two runs with one volume key, only the encrypted content is the same. When the step fails in the
 *  middle, the image is of no use.
 *  @returns the header, read back.
 *  @throws {InvalidOptionsError} when something is where the header belongs, and for passphrases that cannot be used.
 *  @see cryptsetup-luksFormat(8); LUKS2 On-Disk Format Specification. Runs: cryptsetup, filefrag, flock. */
export const encryptPartition: Step<EncryptPartitionOptions, EncryptedPartition> = defineStep({
  name: STEP,
  options: schema,
  runs: ['cryptsetup', 'filefrag', 'flock'],
  where: 'host',
  async prepare(options) {
    const { image, partition, volumeKeyFile, recoveryKeyFile } = options;
    await requireDisk(STEP, image, [partition]);
    await refuseContent(image, partition);
    const sectorBytes = await chooseSectorSize(options);
    const passphrases = [await readPassphrase(STEP, options.passphraseFile, 'passphraseFile')];
    for (const [index, file] of options.morePassphraseFiles.entries())
      passphrases.push(await readPassphrase(STEP, file, `morePassphraseFiles[${index}]`));
    const volumeKey =
      volumeKeyFile === undefined
        ? randomBytes(VOLUME_KEY_BYTES)
        : await readVolumeKey(STEP, volumeKeyFile, 'volumeKeyFile');
    if (recoveryKeyFile !== undefined) await requireNewFile(STEP, recoveryKeyFile, 'recoveryKeyFile');
    return { passphrases, volumeKey, sectorBytes };
  },
  detail: ({ image }) => image,
  async run(step, options, { passphrases, volumeKey, sectorBytes }) {
    const { image, partition, recoveryKeyFile } = options;
    // Not beside a block device, in /dev.
    const isDevice = (await stat(image)).isBlockDevice();
    const payload = luksPayload(partition);
    await using disk = await open(image, 'r+');
    const free = options.encryptFreeSpace ? [] : await freeExtents(step, disk, payload);
    const { size, blocks } = await disk.stat();
    const usedBytes = payload.sizeBytes - free.reduce((sum, one) => sum + one.sizeBytes, 0);
    // Holes in what is used are filled; the header is made in a file first.
    const growth = Math.max(0, LUKS_HEADER_BYTES + usedBytes - blocks * SECTOR_BYTES);
    if (!isDevice) await requireRoom(STEP, dirname(image), growth + LUKS_HEADER_BYTES);
    const isWorthAsking = free.length > 0 && size - blocks * SECTOR_BYTES > LARGE_HOLES;
    const data: readonly ByteRange[] | undefined = isWorthAsking ? await dataRanges(step, image) : undefined;
    await using work = await makePrivateDirectory(isDevice ? tmpdir() : dirname(image));
    const file = join(work.path, 'header.img');
    const secret = async (name: string, bytes: Uint8Array): Promise<string> => {
      const target = join(work.path, name);
      await writeFile(target, bytes, { mode: 0o600 });
      return target;
    };
    await makeSparseFile(file, partition.sizeBytes);
    const [first = Buffer.alloc(0), ...others] = passphrases;
    const passphrase = await secret('passphrase', first);
    await luksFormat(step, {
      ...{ file, passphrase, volumeKey: await secret('volume-key', volumeKey), sectorBytes },
      ...{ keyDerivation: options.keyDerivation, uuid: options.uuid?.toLowerCase(), label: options.label },
    });
    for (const [index, bytes] of others.entries()) {
      const added = await secret(`passphrase-${index}`, bytes);
      await luksAddKey(step, { file, passphrase, added, keyDerivation: options.keyDerivation });
    }
    let recoveryKey = '';
    if (recoveryKeyFile !== undefined) {
      recoveryKey = makeRecoveryKey();
      const added = await secret('recovery-key', Buffer.from(recoveryKey));
      // It is as random as the volume key, so that iterations add nothing. systemd-cryptenroll does the same.
      await luksAddKey(step, { file, passphrase, added, keyDerivation: { type: 'pbkdf2', iterations: 1000 } });
      await importToken(step, file, { type: 'systemd-recovery', keyslots: [`${passphrases.length}`] });
    }
    const encryptedBytes = await encryptRegion(step, disk, payload, {
      ...{ key: volumeKey, sectorBytes, free, data },
    }).catch(async (error: unknown) => {
      if (!isErrno(error, 'ENOSPC') && !isErrno(error, 'EDQUOT')) throw error;
      throw await hostHasNoRoom(STEP, dirname(image), growth, { cause: error });
    });
    step.measured(encryptedBytes);
    // Last: until then, nobody can mistake the partition for an encrypted one.
    await copyHeader(file, disk, partition.offsetBytes);
    const header = await readLuksHeader((at, bytes) => readAt(disk, partition.offsetBytes + at, bytes));
    if (
      typeof header !== 'object' ||
      header.dataOffsetBytes !== LUKS_HEADER_BYTES ||
      header.sectorBytes !== sectorBytes
    )
      throw new UnexpectedStateError(STEP, `the LUKS header in ${image} is not as asked for`, {
        expected: `data at byte ${LUKS_HEADER_BYTES}, in sectors of ${sectorBytes} bytes`,
        found: typeof header !== 'object' ? 'no header' : `data at byte ${header.dataOffsetBytes}`,
      });
    if (recoveryKeyFile !== undefined)
      await writeFile(recoveryKeyFile, `${recoveryKey}\n`, { mode: 0o600, flag: 'wx' });
    return { ...header, payload, encryptedBytes };
  },
});

function refusal(path: string, message: string, hint?: string): InvalidOptionsError {
  return new InvalidOptionsError(STEP, [{ path, message }], hint === undefined ? {} : { hint });
}

/** Nothing may be where the header belongs: a filesystem at the start of the partition would be overwritten. */
async function refuseContent(image: string, { offsetBytes, sizeBytes }: Extent): Promise<void> {
  if (sizeBytes <= LUKS_HEADER_BYTES || sizeBytes % SECTOR_BYTES !== 0)
    throw refusal(
      'partition',
      `has ${sizeBytes} bytes; it must have more than the ${LUKS_HEADER_BYTES} of the header, in whole sectors`,
    );
  await using disk = await open(image, 'r');
  const zeros = Buffer.alloc(MIB);
  for (let at = 0; at < LUKS_HEADER_BYTES; at += MIB) {
    const bytes = await readAt(disk, offsetBytes + at, MIB);
    if (at === 0 && bytes.toString('latin1', 0, 4) === 'LUKS') throw refusal('partition', 'is encrypted already');
    if (!bytes.equals(zeros))
      throw refusal(
        'partition',
        `has data in its first ${LUKS_HEADER_BYTES / MIB} MiB, where the LUKS header belongs`,
        'make the filesystem in luksPayload(partition)',
      );
  }
}

/** The kernel opens only devices of whole sectors, and mounts an xfs only if the sectors of its device are not larger than its own. */
async function chooseSectorSize({ image, partition, sectorSize }: z.output<typeof schema>): Promise<512 | 4096> {
  const payload = luksPayload(partition);
  await using disk = await open(image, 'r');
  const start = await readAt(disk, payload.offsetBytes, 4096);
  const isSmall = parseXfs(start) !== undefined && xfsSectorBytes(start) < 4096;
  const isCut = payload.sizeBytes % 4096 !== 0;
  if (sectorSize === 4096 && isCut)
    throw refusal('sectorSize', `4096 does not divide the ${partition.sizeBytes} bytes of the partition`);
  if (sectorSize === 4096 && isSmall)
    throw refusal(
      'sectorSize',
      `4096 is more than the ${xfsSectorBytes(start)} of the xfs, which would not be mounted`,
    );
  return sectorSize ?? (isSmall || isCut ? 512 : 4096);
}

/** The free parts of the filesystem; empty if they are not known. */
async function freeExtents(
  step: { note(text: string): void },
  disk: Awaited<ReturnType<typeof open>>,
  payload: Extent,
): Promise<Extent[]> {
  const volume = await openExt4(disk, payload);
  if (typeof volume === 'string' || !knowsFreeBlocks(volume)) {
    step.note('all of the partition is encrypted, because the free parts of its filesystem are not known');
    return [];
  }
  const { blockBytes } = volume.superblock;
  const extents: Extent[] = [];
  for await (const { start, count } of freeRuns(volume))
    extents.push({ offsetBytes: start * blockBytes, sizeBytes: count * blockBytes });
  return extents;
}

async function copyHeader(file: string, disk: Awaited<ReturnType<typeof open>>, offsetBytes: number): Promise<void> {
  await using header = await open(file, 'r');
  for (let at = 0; at < LUKS_HEADER_BYTES; at += MIB) {
    const bytes = await readAt(header, at, MIB);
    await writeAt(disk, offsetBytes + at, bytes);
  }
}

/** 256 bits as systemd-cryptenroll writes them: eight groups of eight letters that are at the same place on most keyboards.
 *  @see systemd-cryptenroll(1), --recovery-key */
function makeRecoveryKey(): string {
  const letters = [...randomBytes(32)].map((byte) => `${MODHEX[byte >> 4]}${MODHEX[byte & 15]}`).join('');
  return (letters.match(/.{8}/g) ?? []).join('-');
}

const MODHEX = 'cbdefghijklnrtuv';
