/** A file in an initrd. */
export interface CpioFile {
  /** The path without a leading slash. */
  readonly path: string;
  readonly content: string | Buffer;
  /** The file type and permissions; default: an executable file. */
  readonly mode?: number;
}

const DIRECTORY = 0o040755;
const PROGRAM = 0o100755;

/** Builds an archive to append to an initrd: its files replace existing ones, and parent directories are created. @see Linux
 *  Documentation/driver-api/early-userspace/buffer-format.rst */
function cpioArchive(files: readonly CpioFile[]): Buffer {
  const directories = new Set<string>();
  for (const { path } of files)
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) directories.add(path.slice(0, at));
  const members = [
    ...[...directories].map((path) => ({ path, content: '', mode: DIRECTORY })),
    ...files,
    { path: 'TRAILER!!!', content: '', mode: 0 },
  ];
  return Buffer.concat(members.flatMap((file, index) => member(file, index + 1)));
}

function member({ path, content, mode = PROGRAM }: CpioFile, inode: number): Buffer[] {
  const bytes = Buffer.from(content as string);
  const name = Buffer.from(`${path}\0`);
  // Inode, mode, owner, group, links, time, size, four device numbers, length of the name, checksum.
  const numbers = [inode, mode, 0, 0, 1, 1, bytes.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`;
  return [padded(Buffer.concat([Buffer.from(header), name])), padded(bytes)];
}

/** Appends files to an initrd. */
export function withFiles(initrd: Buffer, files: readonly CpioFile[]): Buffer {
  return Buffer.concat([padded(initrd), cpioArchive(files)]);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
