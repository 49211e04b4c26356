import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { z } from 'zod';
import { driverOf, IMAGE_FORMATS, type ImageFormat } from '../formats/image-formats.ts';
import { fixImageIdentity, nameVmdk } from '../formats/image-identity.ts';
import { requireDisk, requireReplaceable } from '../host-files/given-paths.ts';
import { replaceFile } from '../host-files/private-output.ts';
import { inspectDiskImage } from '../programs/disk-image-format.ts';
import { defineStep, type Step } from '../run/define-step.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import { path, timestamp } from '../spec/fields.ts';
import { SECTOR_BYTES } from '../units.ts';

const STEP = 'convertImage';

const schema = z.object({
  /** A raw disk image. */
  source: path,
  /** The file to write; an existing file is replaced. */
  target: path,
  /** Default "raw". */
  format: z.enum(IMAGE_FORMATS).default('raw'),
  /** Seconds since 1970. If given, equal disks give equal files, with identifiers derived from the content; not
   *  supported for vhdx. */
  timestamp: timestamp.optional(),
});

export interface ConvertImageOptions extends z.input<typeof schema> {}

export interface ConvertedImage {
  readonly target: string;
  readonly format: ImageFormat;
  /** The disk's size as a machine sees it, in bytes. vpc may be slightly larger than the source, because its size is in
   *  cylinders. */
  readonly virtualBytes: number;
  /** The space that the file occupies on the host, in bytes. */
  readonly allocatedBytes: number;
}

/** Arguments of qemu-img, which reports its progress. Runs of zeros of at least 4 KiB become holes. */
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

/** Returns the last percentage in the output of qemu-img: `    (12.50/100%)`. */
function progressOf(text: string): number | undefined {
  const percent = [...text.matchAll(/\((\d{1,3}\.\d\d)\/100%\)/g)].at(-1)?.[1];
  return percent === undefined ? undefined : Number(percent);
}

/** Converts a raw image to another format that qemu-img writes. Sparse images stay sparse.
 *  @returns the sizes of the result, as `qemu-img info` reports them.
 *  @throws {NoSpaceError} when the host's disk is full; an existing target stays unchanged.
 *  @see qemu-img(1). Runs: flock, qemu-img. */
export const convertImage: Step<ConvertImageOptions, ConvertedImage> = defineStep({
  name: STEP,
  options: schema,
  runs: ['qemu-img', 'flock'],
  where: 'host',
  async prepare(files) {
    // Absolute, because qemu-img interprets `name:rest` as a protocol.
    const source = resolve(files.source);
    const target = resolve(files.target);
    await requireDisk(STEP, source, [], 'source');
    await requireReplaceable(STEP, target, 'target');
    if (source === target)
      throw new InvalidOptionsError(STEP, [{ path: 'target', message: 'is the same file as source' }]);
    return { source, target };
  },
  detail: ({ format }) => format,
  async run(step, { format, timestamp: time }, { source, target }) {
    const totalBytes = (await stat(source)).blocks * SECTOR_BYTES;
    await replaceFile(target, async (partial) => {
      await step.run(convertImageArgs(source, partial, format), {
        what: `cannot convert ${source} to ${format}`,
        onStdout(chunk) {
          const percent = progressOf(chunk.toString('latin1'));
          if (percent !== undefined) step.progress((totalBytes * percent) / 100, totalBytes);
        },
      });
      if (format === 'vmdk') await nameVmdk(partial, basename(target), time !== undefined);
      if (time !== undefined && (format === 'vdi' || format === 'vpc')) await fixImageIdentity(partial, format, time);
    });
    const driver = driverOf(format);
    const { size, blocks } = await stat(target);
    const allocatedBytes = blocks * SECTOR_BYTES;
    step.measured(allocatedBytes);
    const virtualBytes =
      driver === 'raw' ? size : (await inspectDiskImage(target, driver, step.executor, step.signal)).virtualBytes;
    return { target, format, virtualBytes, allocatedBytes };
  },
});
