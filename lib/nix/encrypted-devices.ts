import { readFile, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { type CpioEntry, cpioEntries, isCpio, isLink } from '../formats/cpio.ts';
import { localExecutor } from '../run/local-executor.ts';
import { MIB } from '../units.ts';
import { linkTo } from './fstab.ts';
import { resolveInStore } from './store.ts';

/** An encrypted device that the initrd opens. */
export interface EncryptedDevice {
  /** Its name in /dev/mapper. */
  readonly name: string;
  /** "/dev/disk/by-uuid/…" */
  readonly device: string;
  /** The file with the key, if the initrd reads one. */
  readonly keyFile: string | undefined;
  /** The file or device with the LUKS header, if it is not on the device. */
  readonly header: string | undefined;
}

const LARGEST_INITRD = 512 * MIB;

/** Finds what a system's initrd opens, from its /etc/crypttab, or from its script if it has no systemd.
 *  @param initrd its path in the store. @returns undefined when the initrd cannot be read.
 *  @see nixos/modules/system/boot/luksroot.nix. Runs, by the compression: zstd, xz. */
export async function readEncryptedDevices(
  store: string,
  initrd: string,
): Promise<readonly EncryptedDevice[] | undefined> {
  const resolved = await resolveInStore(store, initrd);
  if (resolved === undefined || (await stat(join(store, resolved))).size > LARGEST_INITRD) return undefined;
  const files = await readInitrd(await readFile(join(store, resolved)));
  if (files === undefined) return undefined;
  const read = (path: string): string | undefined => textOf(files, path);
  const crypttab = read('etc/crypttab');
  if (crypttab !== undefined) return crypttabDevices(crypttab);
  return scriptDevices(read('init') ?? '');
}

/** The entries of crypttab(5). */
export function crypttabDevices(text: string): EncryptedDevice[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', device = '', key = '-', options = ''] = line.trim().split(/\s+/);
    if (name === '' || name.startsWith('#') || device === '') return [];
    const keyFile = ['-', 'none'].includes(key) ? undefined : key;
    return [{ name, device: linkTo(device), keyFile, header: /(?:^|,)header=([^,]+)/.exec(options)?.[1] }];
  });
}

/** The devices that NixOS's stage 1 script opens. */
export function scriptDevices(script: string): EncryptedDevice[] {
  const found = new Map<string, EncryptedDevice>();
  for (const [, device = '', name = '', options = ''] of script.matchAll(
    /\bcryptsetup luksOpen (\S+) ([^\s;|&]+)([^\n;|&]*)/g,
  )) {
    const known = found.get(name);
    const option = (flag: string): string | undefined => new RegExp(`--${flag}=(\\S+)`).exec(options)?.[1];
    const key = option('key-file');
    found.set(name, {
      ...{ name, device: linkTo(device), header: known?.header ?? option('header') },
      // "-" is what was typed.
      keyFile: known?.keyFile ?? (key === '-' ? undefined : key),
    });
  }
  return [...found.values()];
}

/** Small files of the archives that an initrd consists of, by path. */
async function readInitrd(bytes: Buffer): Promise<Map<string, CpioEntry> | undefined> {
  const files = new Map<string, CpioEntry>();
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) at += 1;
    else if (isCpio(bytes, at)) at = addFiles(files, bytes, at);
    else {
      // What is compressed comes last.
      const plain = await decompress(bytes.subarray(at));
      if (plain === undefined) return undefined;
      return readInitrd(plain).then((rest) => rest && new Map([...files, ...rest]));
    }
  }
  return files;
}

function addFiles(files: Map<string, CpioEntry>, bytes: Buffer, at: number): number {
  const entries = cpioEntries(bytes, at);
  for (;;) {
    const { done, value } = entries.next();
    if (done === true) return value;
    if (value.content.length <= MIB) files.set(value.path, value);
  }
}

const COMPRESSIONS = [
  ['1f8b', undefined],
  ['28b52ffd', ['zstd', '-dc']],
  ['fd377a585a00', ['xz', '-dc']],
] as const;

async function decompress(bytes: Buffer): Promise<Buffer | undefined> {
  const head = bytes.toString('hex', 0, 8);
  const [magic, argv] = COMPRESSIONS.find(([start]) => head.startsWith(start)) ?? [];
  if (magic === undefined) return undefined;
  if (argv === undefined) return promisify(gunzip)(bytes, { maxOutputLength: LARGEST_INITRD }).catch(() => undefined);
  // Without the program, nothing is known about the initrd, which the plan says.
  const result = await localExecutor.run(argv, { input: bytes }).catch(() => undefined);
  return result?.exitCode === 0 ? result.stdout : undefined;
}

/** Follows links, which an initrd of NixOS has into its store. */
function textOf(files: ReadonlyMap<string, CpioEntry>, path: string, depth = 0): string | undefined {
  const entry = files.get(path);
  if (entry === undefined || depth > 8) return undefined;
  if (!isLink(entry)) return entry.content.toString('utf8');
  const target = posix.resolve('/', posix.dirname(path), entry.content.toString('utf8'));
  return textOf(files, target.slice(1), depth + 1);
}
