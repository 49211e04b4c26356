import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ReadBytes } from '../formats/extent.ts';
import { makePrivateDirectory, type PrivateDirectory } from '../host-files/private-output.ts';
import { readAt } from '../host-files/read-at.ts';
import type { DiskImageFacts } from '../programs/disk-image-format.ts';
import { isErrno } from '../run/errno.ts';
import { NoSpaceError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { GIB, MIB } from '../units.ts';
import { askProgram } from './ask-program.ts';
import type { Budget } from './budget.ts';

/** The tables of the container format are damaged, so that the disk cannot be read. */
export class ContainerDamaged extends Error {
  /** Where the part begins that could not be read. */
  readonly offsetBytes: number;

  constructor(message: string, offsetBytes: number) {
    super(message);
    this.offsetBytes = offsetBytes;
  }
}

/** The largest part of an image that is copied. */
export const LARGEST_COPY = 8 * GIB;

/** Reads the disk in an image of any format, as a machine would see it. */
export interface ImageReader extends AsyncDisposable {
  readonly virtualBytes: number;
  /** Whether the image is raw, so that programs can read it directly. */
  readonly isRaw: boolean;
  /** Reads bytes. Returns fewer at the end of the disk, and none beyond it. */
  read(offsetBytes: number, bytes: number): Promise<Buffer>;
  /** Returns a reader for a part of the disk, for many small reads. Its offsets are relative to the part. */
  part(offsetBytes: number, bytes: number): Promise<ReadBytes>;
  /** Provides a part of the disk inside a raw file, for programs that support only raw files. */
  asRaw(offsetBytes: number, bytes: number): Promise<RawPlace>;
  /** Provides a part of the disk as a separate raw file, for programs that do not support an offset. */
  asFile(offsetBytes: number, bytes: number): Promise<string>;
}

interface RawPlace {
  readonly image: string;
  readonly offsetBytes: number;
}

/** The limit of one read. */
const MOST_BYTES = 16 * MIB;

/** Opens a disk image. @throws {ContainerDamaged} later, when it is read. Runs: qemu-img, except for raw images. */
export async function openImage(step: StepRunner, budget: Budget, facts: DiskImageFacts): Promise<ImageReader> {
  const { file, format, virtualBytes } = facts;
  // Without O_NONBLOCK, open() would block forever if a FIFO had replaced the file meanwhile.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  let directory: Promise<PrivateDirectory> | undefined;
  const work = async (): Promise<string> => {
    directory ??= privateDirectory(step.step);
    return (await directory).path;
  };
  const pieces = new Map<string, Promise<string>>();
  const once = (key: string, make: () => Promise<string>): Promise<string> => {
    const made = pieces.get(key) ?? make();
    pieces.set(key, made);
    return made;
  };
  const exactly = (offset: number, size: number): Promise<string> =>
    once(`${offset}-${size}`, async () => {
      const name = join(await work(), `${offset}-${size}.img`);
      await convertPart(step, budget, facts, { offset, size }, name);
      return name;
    });
  const room = (offsetBytes: number, bytes: number): number =>
    Math.max(0, Math.min(bytes, virtualBytes - Math.max(0, offsetBytes)));
  const reader: ImageReader = {
    virtualBytes,
    isRaw: format === 'raw',
    async read(offsetBytes, bytes) {
      budget.check();
      const wanted = Math.min(room(offsetBytes, bytes), MOST_BYTES);
      if (wanted === 0 || offsetBytes < 0) return Buffer.alloc(0);
      if (format === 'raw') return readAt(handle, offsetBytes, wanted);
      const place = await reader.asRaw(offsetBytes, wanted);
      return readFrom(place.image, place.offsetBytes, wanted);
    },
    async part(offsetBytes, bytes) {
      const size = room(offsetBytes, bytes);
      const within = (at: number, wanted: number): number => Math.max(0, Math.min(wanted, size - at, MOST_BYTES));
      if (format === 'raw') return (at, wanted) => reader.read(offsetBytes + at, within(at, wanted));
      if (size === 0) return async () => Buffer.alloc(0);
      const place = await reader.asRaw(offsetBytes, size);
      return (at, wanted) => {
        budget.check();
        return readFrom(place.image, place.offsetBytes + at, within(at, wanted));
      };
    },
    async asRaw(offsetBytes, bytes) {
      if (format === 'raw') return { image: file, offsetBytes };
      // Whole MiB, so that reads near each other share one copy.
      const first = Math.floor(offsetBytes / MIB) * MIB;
      const end = Math.min(Math.ceil((offsetBytes + Math.max(bytes, 1)) / MIB) * MIB, virtualBytes);
      return { image: await exactly(first, end - first), offsetBytes: offsetBytes - first };
    },
    async asFile(offsetBytes, bytes) {
      return exactly(offsetBytes, room(offsetBytes, bytes));
    },
    async [Symbol.asyncDispose]() {
      await handle.close();
      await (await directory?.catch(() => undefined))?.[Symbol.asyncDispose]();
    },
  };
  return reader;
}

/** Creates a private directory for copies. @throws {NoSpaceError} when the filesystem is full. */
export async function privateDirectory(step: string): Promise<PrivateDirectory> {
  try {
    return await makePrivateDirectory(tmpdir());
  } catch (cause) {
    if (!isErrno(cause, 'ENOSPC') && !isErrno(cause, 'EDQUOT')) throw cause;
    throw new NoSpaceError(
      step,
      `the directory for temporary files (${tmpdir()})`,
      {},
      { cause, hint: 'free space there, or set TMPDIR to another directory' },
    );
  }
}

/** Copies a part of a disk into a sparse raw file. */
async function convertPart(
  step: StepRunner,
  budget: Budget,
  { file, format, isDevice }: DiskImageFacts,
  { offset, size }: { readonly offset: number; readonly size: number },
  name: string,
): Promise<void> {
  // Not qemu-img dd: whether its count includes the skipped blocks depends on its version.
  const node = {
    ...{ driver: 'raw', offset, size },
    file: { driver: format, file: { driver: isDevice ? 'host_device' : 'file', filename: file } },
  };
  const argv = ['qemu-img', 'convert', '-U', '-O', 'raw', `json:${JSON.stringify(node)}`, name];
  const { exitCode, stderr } = await askProgram(step, budget, argv, {
    answers: [0, 1],
    what: `cannot read ${file} as ${format}`,
  });
  if (exitCode !== 0) throw new ContainerDamaged(stderr.trim().split('\n')[0] ?? '', offset);
}

async function readFrom(name: string, offsetBytes: number, bytes: number): Promise<Buffer> {
  await using handle = await open(name, 'r');
  return readAt(handle, offsetBytes, bytes);
}
