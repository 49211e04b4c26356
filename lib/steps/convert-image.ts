import { randomBytes } from 'node:crypto';
import { rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { driverOf, IMAGE_FORMATS, type ImageFormat } from '../formats/image-formats.ts';
import { fixImageIdentity, nameVmdk } from '../formats/image-identity.ts';
import { requireDisk, requireReplaceable } from '../host-files/given-paths.ts';
import { inspectDiskImage } from '../programs/disk-image-format.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { path, timestamp } from '../spec/fields.ts';
import { SECTOR_BYTES } from '../units.ts';

const STEP = 'convertImage';

const schema = z.object({
  /** A raw disk image. */
  source: path,
  /** The file to write; one that is there is replaced. */
  target: path,
  /** Default "raw". */
  format: z.enum(IMAGE_FORMATS).default('raw'),
  /** Seconds since 1970: the same disk then gives the same file each time, with identifiers made from its contents; but not a
   *  vhdx. */
  timestamp: timestamp.optional(),
});

export interface ConvertImageOptions extends z.input<typeof schema> {}

export interface ConvertedImage {
  readonly target: string;
  readonly format: ImageFormat;
  /** The disk's size as a machine sees it, in bytes. vpc may be a little larger than the source: its size is in cylinders. */
  readonly virtualBytes: number;
  /** What the file occupies on the host, in bytes. */
  readonly allocatedBytes: number;
}

/** Arguments of qemu-img: runs of zeros of 4 KiB become holes, and it says how far it is. */
export function convertImageArgs(source: string, target: string, format: ImageFormat): string[] {
  return [
    'qemu-img',
    'convert',
    '-p',
    '-f',
    'raw',
    '-O',
    driverOf(format),
    ...(format === 'qcow2-compressed' ? ['-c'] : []),
    '-S',
    '4k',
    source,
    target,
  ];
}

/** The last percentage in what qemu-img prints: `    (12.50/100%)`. */
function progressOf(text: string): number | undefined {
  const percent = [...text.matchAll(/\((\d{1,3}\.\d\d)\/100%\)/g)].at(-1)?.[1];
  return percent === undefined ? undefined : Number(percent);
}

/** Converts a raw image to one of make-disk-image's formats, or to another that qemu-img writes; what is sparse stays sparse.
 *  @returns sizes as `qemu-img info` tells them of the result.
 *  @throws {NoSpaceError} when the host's disk is full; a target that is there stays as it is.
 *  @see qemu-img(1). Runs: qemu-img. */
export const convertImage: Step<ConvertImageOptions, ConvertedImage> = defineStep({
  name: STEP,
  options: schema,
  runs: ['qemu-img'],
  where: 'host',
  async prepare(files) {
    // Absolute, because qemu-img takes `name:rest` for a protocol.
    const source = resolve(files.source);
    const target = resolve(files.target);
    await requireDisk(STEP, source, [], 'source');
    await requireReplaceable(STEP, target, 'target');
    if (source === target) throw new InvalidOptionsError(STEP, [{ path: 'target', message: 'is the source itself' }]);
    return { source, target };
  },
  detail: ({ format }) => format,
  async run(step, { format, timestamp: time }, { source, target }) {
    // Under a private name until it is whole: a target that is there is replaced only by a finished one.
    const partial = join(dirname(target), `.nixos-disk-image-${process.pid}-${randomBytes(4).toString('hex')}`);
    try {
      const totalBytes = (await stat(source)).blocks * SECTOR_BYTES;
      await step.run(convertImageArgs(source, partial, format), {
        what: `cannot convert ${source} to ${format}`,
        onStdout(chunk) {
          const percent = progressOf(chunk.toString('latin1'));
          if (percent !== undefined) step.progress((totalBytes * percent) / 100, totalBytes);
        },
      });
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    if (format === 'vmdk') await nameVmdk(partial, basename(target), time !== undefined);
    if (time !== undefined && (format === 'vdi' || format === 'vpc')) await fixImageIdentity(partial, format, time);
    await rename(partial, target);
    const driver = driverOf(format);
    const { size, blocks } = await stat(target);
    const allocatedBytes = blocks * SECTOR_BYTES;
    step.measured(allocatedBytes);
    const virtualBytes =
      driver === 'raw' ? size : (await inspectDiskImage(target, driver, step.executor, step.signal)).virtualBytes;
    return { target, format, virtualBytes, allocatedBytes };
  },
});
