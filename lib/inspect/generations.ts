import { ext4Location } from '../filesystem/ext4.ts';
import type { StepRunner } from '../step.ts';
import { GIB } from '../units.ts';
import type { ImageReader } from './image-reader.ts';

/** A generation of the `system` profile. */
export interface Generation {
  readonly number: number;
  /** `/nix/store/…` */
  readonly system: string;
  /** Whether `/nix/var/nix/profiles/system` is this one. */
  readonly isDefault: boolean;
}

export interface FoundNix {
  readonly generations: readonly Generation[];
  /** How many paths the Nix store has. */
  readonly storePaths: number;
}

/** Of an image that is not raw, a copy is read: no larger one is made for this. */
const LARGEST_COPY = 8 * GIB;

/** Reads the generations and counts the store of an ext4 root; undefined where it has no Nix store. Runs: debugfs. */
export async function readNix(
  step: StepRunner,
  image: ImageReader,
  place: { readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<FoundNix | undefined> {
  if (!image.isRaw && place.sizeBytes > LARGEST_COPY) return undefined;
  const raw = await image.asRaw(place.offsetBytes, place.sizeBytes);
  const { name, cwd } = ext4Location(step.step, raw.image, raw.offsetBytes);
  const ask = async (commands: readonly string[]): Promise<string> => {
    const { stdout } = await step.tryRun(['debugfs', '-f', '-', name], { cwd, input: `${commands.join('\n')}\n` });
    return stdout.toString('utf8');
  };
  const profiles = '/nix/var/nix/profiles';
  const listed = await ask(['ls -p /nix/store', `ls -p ${profiles}`, `stat ${profiles}/system`]);
  const [, store = '', links = '', current = ''] = listed.split(/^debugfs: .*$/m);
  const names = (text: string): string[] =>
    [...text.matchAll(/^\/\d+\/\d+\/\d+\/\d+\/([^/]+)\//gm)].map(([, at = '']) => at);
  const storePaths = names(store).filter((at) => /^[0-9a-z]{32}-/.test(at)).length;
  if (storePaths === 0) return undefined;
  const target = (text: string): string => /^Fast link dest: "(.*)"$/m.exec(text)?.[1] ?? '';
  const numbers = names(links)
    .map((at) => /^system-(\d+)-link$/.exec(at)?.[1])
    .filter((number) => number !== undefined);
  // A link of 60 bytes and more has a block, as a file has; a shorter one stands in the inode.
  const questions = numbers.flatMap((number) =>
    ['stat', 'cat'].map((verb) => `${verb} ${profiles}/system-${number}-link`),
  );
  const told = (await ask(questions)).split(/^debugfs: .*$/m);
  const generations = numbers.map((number, index) => ({
    number: Number(number),
    system: target(told[2 * index + 1] ?? '') || (told[2 * index + 2] ?? '').trim(),
    isDefault: target(current) === `system-${number}-link`,
  }));
  return { generations: generations.sort((a, b) => a.number - b.number), storePaths };
}
