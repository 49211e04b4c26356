import { Ext4Volume } from '../filesystem/ext4/volume.ts';
import type { DirectoryEntry } from '../formats/ext4/directory.ts';
import type { Extent } from '../formats/extent.ts';
import type { Budget } from './budget.ts';
import { type Finding, finding } from './finding.ts';
import { type ImageReader, LARGEST_COPY } from './image-reader.ts';

/** A generation of the `system` profile. */
export interface Generation {
  readonly number: number;
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** @deprecated Use `toplevel`. */
  readonly system: string;
  /** Whether `/nix/var/nix/profiles/system` points to this generation. */
  readonly isDefault: boolean;
}

export interface FoundNix {
  readonly generations: readonly Generation[];
  /** The number of paths in the Nix store; undefined if there is none. */
  readonly storePaths: number | undefined;
  readonly findings: readonly Finding[];
}

export const NO_NIX: FoundNix = { generations: [], storePaths: undefined, findings: [] };

const MOST_GENERATIONS = 500;
/** A link's target is a path. */
const LONGEST_TARGET = 4096;

/** Reads the generations in an ext4, the root or a separate /nix, and counts its store paths. */
export async function readNix(
  budget: Budget,
  image: ImageReader,
  place: Extent & { readonly number: number },
): Promise<FoundNix> {
  if (!image.isRaw && place.sizeBytes > LARGEST_COPY) {
    budget.leaveOut(`the generations of partition ${place.number}: it is too large to copy out of its container`);
    return NO_NIX;
  }
  const volume = await Ext4Volume.open(await image.part(place.offsetBytes, place.sizeBytes));
  if (typeof volume === 'string')
    return {
      ...NO_NIX,
      findings: [
        finding(
          ...(['filesystem-unreadable', 'error', 'stage 1'] as const),
          `the ext4 of partition ${place.number} ${volume}`,
          undefined,
        ),
      ],
    };
  const each = async (path: string, take: (entry: DirectoryEntry) => void): Promise<void> => {
    const directory = await volume.find(path);
    if (directory?.type !== 'directory') return;
    for await (const entry of volume.entries(directory)) {
      budget.check();
      if (entry !== undefined) take(entry);
    }
  };
  let storePaths = 0;
  let nix = '';
  for (nix of ['nix/', '']) {
    await each(`${nix}store`, ({ name }) => {
      if (/^[0-9a-z]{32}-/.test(name)) storePaths += 1;
    });
    if (storePaths > 0) break;
  }
  if (storePaths === 0) return NO_NIX;
  const profiles = `${nix}var/nix/profiles`;
  const target = async (inode: number | undefined): Promise<string> => {
    const node = inode === undefined ? undefined : await volume.node(inode);
    // Only symbolic links are read.
    if (node?.type !== 'symlink' || node.sizeBytes > LONGEST_TARGET) return '';
    return Buffer.from(await volume.linkTarget(node), 'latin1').toString('utf8');
  };
  const links: (DirectoryEntry & { readonly number: number })[] = [];
  let found = 0;
  await each(profiles, (entry) => {
    const number = /^system-(\d{1,9})-link$/.exec(entry.name)?.[1];
    if (number === undefined) return;
    found += 1;
    if (found <= MOST_GENERATIONS) links.push({ ...entry, number: Number(number) });
  });
  if (found > MOST_GENERATIONS) budget.leaveOut(`generations beyond the first ${MOST_GENERATIONS} of ${found}`);
  const profile = await volume.find(`${profiles}/system`);
  const current = await target(profile?.inode);
  const generations: Generation[] = [];
  for (const { number, name, inode } of links) {
    const toplevel = await target(inode);
    generations.push({ number, toplevel, system: toplevel, isDefault: current === name });
  }
  return { generations: generations.sort((a, b) => a.number - b.number), storePaths, findings: [] };
}
