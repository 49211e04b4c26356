import type { Extent } from '../formats/extent.ts';
import type { StepRunner } from '../run/step.ts';
import type { Budget } from './budget.ts';
import { askDebugfs, parseInode } from './debugfs.ts';
import { type Finding, finding } from './finding.ts';
import { type ImageReader, LARGEST_COPY } from './image-reader.ts';

/** A generation of the `system` profile. */
export interface Generation {
  readonly number: number;
  /** `/nix/store/…` */
  readonly toplevel: string;
  /** @deprecated Use `toplevel`. */
  readonly system: string;
  /** Whether `/nix/var/nix/profiles/system` is this one. */
  readonly isDefault: boolean;
}

export interface FoundNix {
  readonly generations: readonly Generation[];
  /** How many paths the Nix store has; undefined where there is none. */
  readonly storePaths: number | undefined;
  readonly findings: readonly Finding[];
}

export const NO_NIX: FoundNix = { generations: [], storePaths: undefined, findings: [] };

const PROFILES = '/nix/var/nix/profiles';
const MOST_GENERATIONS = 500;
/** A link's target is a path. */
const LONGEST_TARGET = 4096;

/** Reads the generations and counts the store of an ext4 root. Runs: debugfs. */
export async function readNix(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  place: Extent & { readonly number: number },
): Promise<FoundNix> {
  if (!image.isRaw && place.sizeBytes > LARGEST_COPY) {
    budget.leaveOut(`the generations of partition ${place.number}, which is too large to copy out of its container`);
    return NO_NIX;
  }
  const raw = await image.asRaw(place.offsetBytes, place.sizeBytes);
  const listed = await askDebugfs(step, budget, raw, [
    `ls -p ${PROFILES}`,
    `stat ${PROFILES}/system`,
    'ls -p /nix/store',
  ]);
  if (listed.refused !== undefined)
    return {
      ...NO_NIX,
      findings: [
        finding(
          ...(['filesystem-unreadable', 'error', 'stage 1'] as const),
          `the ext4 of partition ${place.number} cannot be opened: ${listed.refused}`,
          undefined,
        ),
      ],
    };
  if (listed.isCut) budget.leaveOut(`the Nix store of partition ${place.number}, whose directory is too large`);
  const [links = '', current = '', store = ''] = listed.answers;
  const names = (text: string): string[] =>
    [...text.matchAll(/^\/\d+\/\d+\/\d+\/\d+\/([^/]+)\//gm)].map(([, at = '']) => at);
  const storePaths = names(store).filter((at) => /^[0-9a-z]{32}-/.test(at)).length;
  if (storePaths === 0) return NO_NIX;
  const numbers = names(links).flatMap((at) => /^system-(\d{1,9})-link$/.exec(at)?.[1] ?? []);
  if (numbers.length > MOST_GENERATIONS)
    budget.leaveOut(`generations behind the first ${MOST_GENERATIONS} of ${numbers.length}`);
  const shown = numbers.slice(0, MOST_GENERATIONS);
  const link = (number: string): string => `${PROFILES}/system-${number}-link`;
  const inodes = (
    await ask(
      step,
      budget,
      raw,
      shown.map((number) => `stat ${link(number)}`),
    )
  ).map(parseInode);
  // A link of 60 bytes and more has a block, as a file has. What is no link is not read.
  const long = shown.filter((_, index) => {
    const inode = inodes[index];
    return inode?.type === 'symlink' && inode.target === undefined && inode.sizeBytes <= LONGEST_TARGET;
  });
  const targets = await ask(
    step,
    budget,
    raw,
    long.map((number) => `cat ${link(number)}`),
  );
  const currentTarget = parseInode(current)?.target;
  const generations = shown.map((number, index) => {
    const toplevel = inodes[index]?.target ?? (targets[long.indexOf(number)] ?? '').trim().slice(0, LONGEST_TARGET);
    const isDefault = currentTarget === `system-${number}-link`;
    return { number: Number(number), toplevel, system: toplevel, isDefault };
  });
  return { generations: generations.sort((a, b) => a.number - b.number), storePaths, findings: [] };
}

async function ask(
  step: StepRunner,
  budget: Budget,
  raw: Parameters<typeof askDebugfs>[2],
  requests: readonly string[],
): Promise<readonly string[]> {
  return requests.length === 0 ? [] : (await askDebugfs(step, budget, raw, requests)).answers;
}
