import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { z } from 'zod';
import { foreignFormat, MAGIC_BYTES } from '../formats/foreign-formats.ts';
import { type DiskFormat, detectDiskFormat } from '../formats/image-formats.ts';
import { kindOf } from '../host-files/given-paths.ts';
import { readAt } from '../host-files/read-at.ts';
import { isErrno } from '../run/errno.ts';
import { InvalidOptionsError, quoteForDisplay } from '../run/errors.ts';
import type { Executor, RunResult } from '../run/executor.ts';
import { localExecutor } from '../run/local-executor.ts';
import { commandFailure } from '../run/step.ts';
import { roundUp, SECTOR_BYTES } from '../units.ts';

export interface DiskImageFacts {
  readonly file: string;
  readonly format: DiskFormat;
  readonly virtualBytes: number;
  /** Whether it is a block device, not a file. */
  readonly isDevice: boolean;
}

const STEP = 'image';
const SMALLEST_DISK = 1024 * 1024;

/** Detects the format of a disk image by its magic number. QEMU's own probing is not used, because a guest can deceive
 *  it. Pipes and other special files are refused without opening them, because that could block.
 *  @throws {InvalidOptionsError} when the file is not a disk image, or has an unsupported format, with what to do.
 *  @throws {ToolFailedError} when qemu-img fails. Runs: qemu-img, except for raw files. */
export async function inspectDiskImage(
  file: string,
  format?: DiskFormat,
  executor: Executor = localExecutor,
  signal?: AbortSignal,
): Promise<DiskImageFacts> {
  const image = resolve(file);
  const facts = await stat(image).catch((cause: unknown) => {
    throw refusal(isErrno(cause, 'ENOENT') ? `${image} does not exist` : `${image} cannot be read`, { cause });
  });
  if (!facts.isFile() && !facts.isBlockDevice()) throw refusal(`${image} is ${kindOf(facts)}, not a disk image`);
  const isDevice = facts.isBlockDevice();
  const { detected, foreign } = await detectFormat(image, facts.size).catch((cause: unknown) => {
    throw isErrno(cause, 'EACCES') ? refusal(`${image} cannot be read by this user`, { cause }) : cause;
  });
  if (format !== 'raw' && foreign !== undefined)
    throw refusal(`${image} is ${foreign.name}, not a raw disk image`, {
      hint: foreign.hint.replaceAll('IMAGE', quoteForDisplay(image)),
    });
  if (format !== undefined && format !== 'raw' && format !== detected)
    throw refusal(`${image} is not ${format}; its content is ${detected}`, { path: 'format' });
  const driver = format ?? detected;
  if (driver === 'raw' && !isDevice) {
    if (facts.size < SMALLEST_DISK)
      throw refusal(`${image} has ${facts.size} bytes, which is too small for a disk image`);
    return { file: image, format: driver, virtualBytes: roundUp(facts.size, SECTOR_BYTES), isDevice };
  }
  const info = await askQemuImg(image, driver, executor, signal);
  return { file: image, format: driver, virtualBytes: wholeDiskBytes(image, driver, info), isDevice };
}

/** The fields of `qemu-img info` that are used. */
const infoSchema = z.object({
  'virtual-size': z.number(),
  encrypted: z.boolean().optional(),
  'backing-filename': z.string().optional(),
  'format-specific': z
    .object({
      data: z
        .object({
          'data-file': z.string().optional(),
          /** Only of a VMDK: the files that contain the disk. */
          extents: z.array(z.object({ filename: z.string() })).optional(),
        })
        .optional(),
    })
    .optional(),
});

/** Asks qemu-img what an image is.
 *  @see qemu-img(1): exit status 0 for success, 1 for failure */
async function askQemuImg(
  image: string,
  driver: DiskFormat,
  executor: Executor,
  signal: AbortSignal | undefined,
): Promise<z.output<typeof infoSchema>> {
  const argv = ['qemu-img', 'info', '--output=json', '--force-share', '-f', driver, image];
  const result = await executor.run(argv, signal === undefined ? {} : { signal });
  const cannot = `cannot open ${image} as ${driver}`;
  if (result.exitCode !== 0 && result.exitCode !== 1) throw commandFailure(STEP, executor, result, { what: cannot });
  if (result.exitCode === 1)
    throw refusal(`${image} cannot be opened as ${driver}: ${result.stderr.toString('utf8').trim()}`);
  const info = parseInfo(result);
  if (info === undefined)
    throw commandFailure(STEP, executor, result, { what: `${cannot}: the output of qemu-img cannot be parsed` });
  return info;
}

/** The file that holds the rest of a qcow2's content, as it is named there; undefined if it is not a qcow2 or is complete.
 *  @throws {ToolFailedError} when qemu-img does not answer. Runs: qemu-img. */
export async function backingFileOf(file: string): Promise<string | undefined> {
  const { size } = await stat(file);
  const { detected } = await detectFormat(file, size);
  if (detected !== 'qcow2') return undefined;
  return (await askQemuImg(file, detected, localExecutor, undefined))['backing-filename'];
}

/** @returns the disk's size. @throws {InvalidOptionsError} for a disk that is not in this one file, or not readable. */
function wholeDiskBytes(image: string, driver: DiskFormat, info: z.output<typeof infoSchema>): number {
  const { extents, 'data-file': dataFile } = info['format-specific']?.data ?? {};
  const backing = info['backing-filename'];
  const outside = backing ?? dataFile ?? extents?.find(({ filename }) => filename !== image)?.filename;
  if (outside !== undefined)
    throw refusal(`${image} is incomplete: part of its content is in ${outside}`, {
      hint: [
        `merge them first: qemu-img convert -O qcow2 ${quoteForDisplay(image)} complete.qcow2`,
        ...(backing === undefined
          ? []
          : [
              `if run --keep made it, run it by: nixos-disk-image run ${quoteForDisplay(backing)} --keep ${quoteForDisplay(image)}`,
            ]),
      ].join('; '),
    });
  if (info.encrypted === true)
    throw refusal(`${image} is encrypted and cannot be read without its key`, {
      hint: `decrypt it first: qemu-img convert --object secret,id=key,file=KEY --image-opts driver=${driver},encrypt.key-secret=key,file.filename=IMAGE -O raw disk.img`,
    });
  const bytes = info['virtual-size'];
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw refusal(`${image} is damaged: its header claims a disk of ${bytes} bytes`);
  return bytes;
}

function parseInfo({ stdout }: RunResult): z.output<typeof infoSchema> | undefined {
  try {
    return infoSchema.parse(JSON.parse(stdout.toString('utf8')));
  } catch {
    return undefined;
  }
}

function refusal(
  message: string,
  { path = '', ...options }: { readonly path?: string; readonly hint?: string; readonly cause?: unknown } = {},
): InvalidOptionsError {
  return new InvalidOptionsError(STEP, [{ path, message }], options);
}

async function detectFormat(
  file: string,
  size: number,
): Promise<{ readonly detected: DiskFormat; readonly foreign: ReturnType<typeof foreignFormat> }> {
  // The file may have been replaced since stat(), and opening a FIFO would wait for a writer.
  await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  const head = await readAt(handle, 0, MAGIC_BYTES);
  const tail = size >= 512 ? await readAt(handle, size - 512, 512) : Buffer.alloc(0);
  const foreign = foreignFormat(head, tail);
  return { detected: foreign === undefined ? detectDiskFormat(head, tail) : 'raw', foreign };
}
