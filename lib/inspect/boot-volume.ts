import { type FatNode, FatVolume } from '../filesystem/fat-volume.ts';
import { bzImageBytes, type EfiProgram, kindOf, type Pe, readPe } from '../formats/efi-program.ts';
import type { Extent, ReadBytes } from '../formats/extent.ts';
import { type ProgramSignature, programDigest, readSignatures } from '../formats/secure-boot/authenticode.ts';
import type { Budget } from './budget.ts';
import type { ImageReader } from './image-reader.ts';

/** The limit of files and directories on a boot partition. */
const MOST_NODES = 20_000;
/** The limit for a configuration file. */
const MOST_TEXT_BYTES = 256 * 1024;

/** A FAT that firmware and loaders read. Its files are listed by their names in lower case, because FAT names are
 *  case-insensitive. */
export interface BootVolume {
  readonly partition: number;
  readonly files: ReadonlyMap<string, FatNode>;
  /** Descriptions of damage in its directories. */
  readonly damage: readonly string[];
  file(path: string): BootFile | undefined;
}

/** A file on a boot partition. Results are cached, because several entries may name the file. */
export interface BootFile {
  readonly path: string;
  readonly partition: number;
  readonly bytes: number;
  readonly read: ReadBytes;
  /** Its text, at most 256 KiB. */
  text(): Promise<string>;
  /** The header of an EFI program; undefined when it is not one. */
  pe(): Promise<Pe | undefined>;
  program(): Promise<EfiProgram | undefined>;
  /** Of an EFI program. @param check is called between reads; it may throw. */
  signatures(check?: () => void): Promise<readonly ProgramSignature[]>;
  /** SHA-256 of an EFI program, as firmware computes it; undefined for what is none. */
  digest(check?: () => void): Promise<Buffer | undefined>;
  /** Describes how its length is wrong, phrased to follow its name; undefined when it is complete. */
  shortfall(): Promise<string | undefined>;
}

/** Reads the files of a FAT. @returns undefined when the partition is not a FAT. */
export async function readBootVolume(
  image: ImageReader,
  budget: Budget,
  place: Extent & { readonly number: number },
): Promise<BootVolume | undefined> {
  const fat = await FatVolume.open(await image.part(place.offsetBytes, place.sizeBytes));
  if (fat === undefined) return undefined;
  const { nodes, damage, isCut } = await fat.tree(MOST_NODES);
  if (isCut) budget.leaveOut(`files on partition ${place.number} beyond the first ${MOST_NODES}`);
  const files = new Map(nodes.map((node) => [node.path.toLowerCase(), node]));
  const opened = new Map<string, BootFile>();
  return {
    partition: place.number,
    files,
    damage,
    file(path) {
      const key = path
        .replace(/^[/\\]+/, '')
        .replaceAll('\\', '/')
        .replace(/\/{2,}/g, '/')
        .toLowerCase();
      const known = opened.get(key);
      const node = files.get(key);
      if (known !== undefined || node?.type !== 'file') return known;
      const file = bootFile(fat, node, place.number);
      opened.set(key, file);
      return file;
    },
  };
}

function bootFile(fat: FatVolume, node: FatNode, partition: number): BootFile {
  const read: ReadBytes = (offset, bytes) => fat.readFile(node, offset, bytes);
  let pe: Promise<Pe | undefined> | undefined;
  let program: Promise<EfiProgram | undefined> | undefined;
  let signatures: Promise<readonly ProgramSignature[]> | undefined;
  let digest: Promise<Buffer | undefined> | undefined;
  const file: BootFile = {
    ...{ path: node.path, partition, bytes: node.sizeBytes, read },
    text: async () => (await read(0, MOST_TEXT_BYTES)).toString('utf8'),
    pe() {
      pe ??= readPe(read);
      return pe;
    },
    program() {
      program ??= (async () => {
        const header = await file.pe();
        if (header === undefined) return undefined;
        const { architecture, signed } = header;
        const complete = (await file.shortfall()) === undefined;
        const kind = await kindOf(read, header);
        return { file: node.path, partition, bytes: node.sizeBytes, architecture, signed, complete, kind };
      })();
      return program;
    },
    signatures(check) {
      signatures ??= (async () => {
        const header = await file.pe();
        return header?.signed === true ? readSignatures(read, header, check) : [];
      })();
      return signatures;
    },
    digest(check) {
      digest ??= (async () => {
        const header = await file.pe();
        return header === undefined ? undefined : programDigest(read, header, 'sha256', check);
      })();
      return digest;
    },
    async shortfall() {
      const chained = await fat.chainedBytes(node);
      if (chained < node.sizeBytes)
        return `has ${node.sizeBytes} bytes, but the partition's allocation table ends after ${chained} of them`;
      const expected = Math.max((await file.pe())?.expectedBytes ?? 0, bzImageBytes(await read(0, 0x210)) ?? 0);
      return node.sizeBytes < expected ? `has ${node.sizeBytes} bytes, but its header says ${expected}` : undefined;
    },
  };
  return file;
}
