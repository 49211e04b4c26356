import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskImageFacts } from '../disk-image-format.ts';
import { commandFailure, type StepRunner } from '../step.ts';
import { MIB } from '../units.ts';

/** Reads a disk image of any format, as a machine would see the disk. */
export interface ImageReader {
  readonly virtualBytes: number;
  /** Whether programs can read it where it is. */
  readonly isRaw: boolean;
  /** Short at the disk's end. */
  read(offsetBytes: number, bytes: number): Promise<Buffer>;
  /** A place of the disk as a raw file, for programs that know no other. */
  asRaw(offsetBytes: number, bytes: number): Promise<{ readonly image: string; readonly offsetBytes: number }>;
}

/** @param work a folder for pieces of images that are not raw. Runs: for those, qemu-img. */
export function openImage(step: StepRunner, { file, format, virtualBytes }: DiskImageFacts, work: string): ImageReader {
  const readFrom = async (name: string, offsetBytes: number, bytes: number): Promise<Buffer> => {
    await using handle = await open(name, 'r');
    const buffer = Buffer.alloc(Math.max(0, bytes));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, offsetBytes);
    return buffer.subarray(0, bytesRead);
  };
  if (format === 'raw')
    return {
      virtualBytes,
      isRaw: true,
      read: (offsetBytes, bytes) => readFrom(file, offsetBytes, Math.min(bytes, virtualBytes - offsetBytes)),
      asRaw: async (offsetBytes) => ({ image: file, offsetBytes }),
    };
  const pieces = new Map<string, Promise<string>>();
  const piece = (firstMib: number, endMib: number): Promise<string> => {
    const name = join(work, `${firstMib}-${endMib}`);
    const known = pieces.get(name);
    if (known !== undefined) return known;
    const made = (async () => {
      // qemu-img dd counts from the start or from behind what it skips, by its version.
      const node = {
        ...{ driver: 'raw', offset: firstMib * MIB, size: Math.min(endMib * MIB, virtualBytes) - firstMib * MIB },
        file: { driver: format, file: { driver: 'file', filename: file } },
      };
      const result = await step.tryRun([
        'qemu-img',
        'convert',
        '-U',
        '-O',
        'raw',
        `json:${JSON.stringify(node)}`,
        name,
      ]);
      if (result.exitCode !== 0)
        throw commandFailure(step.step, step.executor, result, { what: `cannot read ${file} as ${format}` });
      return name;
    })();
    pieces.set(name, made);
    return made;
  };
  const asRaw = async (offsetBytes: number, bytes: number) => {
    const first = Math.floor(offsetBytes / MIB);
    const end = Math.ceil(Math.min(offsetBytes + bytes, virtualBytes) / MIB);
    return { image: await piece(first, Math.max(end, first + 1)), offsetBytes: offsetBytes - first * MIB };
  };
  return {
    virtualBytes,
    isRaw: false,
    async read(offsetBytes, bytes) {
      const place = await asRaw(offsetBytes, bytes);
      return readFrom(place.image, place.offsetBytes, Math.min(bytes, virtualBytes - offsetBytes));
    },
    asRaw,
  };
}
