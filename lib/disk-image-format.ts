import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { InvalidOptionsError } from './errors.ts';
import type { Executor } from './executor.ts';
import { localExecutor } from './local-executor.ts';
import { isErrno } from './private-output.ts';

export type DiskFormat = 'raw' | 'qcow2' | 'vdi' | 'vpc';

export interface DiskImageFacts {
  readonly file: string;
  readonly format: DiskFormat;
  readonly virtualBytes: number;
}

/** What kind of disk image a file is, by its magic number alone: QEMU's own probing would follow a guest's word. */
export async function inspectDiskImage(
  file: string,
  format?: DiskFormat,
  executor: Executor = localExecutor,
): Promise<DiskImageFacts> {
  const image = resolve(file);
  const facts = await stat(image).catch((cause: unknown) => {
    throw new InvalidOptionsError(
      'image',
      [{ path: '', message: isErrno(cause, 'ENOENT') ? `${image} does not exist` : `${image} cannot be read` }],
      { cause },
    );
  });
  if (facts.isDirectory())
    throw new InvalidOptionsError('image', [{ path: '', message: `${image} is a folder, not a disk image` }]);
  const detected = await detectFormat(image, facts.size);
  if (format !== undefined && format !== 'raw' && format !== detected)
    throw new InvalidOptionsError('image', [
      { path: 'format', message: `${image} is told to be ${format}, and is ${detected}` },
    ]);
  const driver = format ?? detected;
  if (driver === 'raw' && facts.size < 1024 * 1024)
    throw new InvalidOptionsError('image', [
      { path: '', message: `${image} has ${facts.size} bytes, which is too small for a disk image` },
    ]);
  const result = await executor.run(['qemu-img', 'info', '--output=json', '--force-share', '-f', driver, image]);
  if (result.exitCode !== 0)
    throw new InvalidOptionsError('image', [
      { path: '', message: `${image} cannot be opened as ${driver}: ${result.stderr.toString('utf8').trim()}` },
    ]);
  const info = JSON.parse(result.stdout.toString('utf8')) as {
    'virtual-size': number;
    'backing-filename'?: string;
    'format-specific'?: { data?: { 'data-file'?: string } };
  };
  const outside = info['backing-filename'] ?? info['format-specific']?.data?.['data-file'];
  if (outside !== undefined)
    throw new InvalidOptionsError('image', [{ path: '', message: `${image} is not whole: it refers to ${outside}` }], {
      hint: `make it whole first: qemu-img convert -O qcow2 ${image} whole.qcow2`,
    });
  return { file: image, format: driver, virtualBytes: info['virtual-size'] };
}

async function detectFormat(file: string, size: number): Promise<DiskFormat> {
  const handle = await open(file, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(512), 0, 512, 0);
    if (buffer.subarray(0, 4).equals(Buffer.from('QFI\xfb', 'latin1'))) return 'qcow2';
    if (buffer.readUInt32LE(0x40) === 0xbeda107f) return 'vdi';
    if (buffer.subarray(0, 8).toString('latin1') === 'conectix') return 'vpc';
    if (size >= 512) {
      const footer = await handle.read(Buffer.alloc(512), 0, 512, size - 512);
      if (footer.buffer.subarray(0, 8).toString('latin1') === 'conectix') return 'vpc';
    }
    return 'raw';
  } finally {
    await handle.close();
  }
}
