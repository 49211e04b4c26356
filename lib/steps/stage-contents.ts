import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { TreeAttribute } from '../filesystem/tree.ts';
import { holdsAttribute } from '../formats/ext4/attributes.ts';
import { exists, expandStars } from '../host-files/expand-stars.ts';
import { makeDirectories, refuseInside } from '../host-files/given-paths.ts';
import { makeDirectoryInside } from '../host-files/inside-root.ts';
import { readAttributes } from '../programs/getfattr.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { isErrno, wordsFor } from '../run/errno.ts';
import { InvalidOptionsError, UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { type ContentsEntry, contentsEntry, path } from '../spec/fields.ts';

const STEP = 'stageContents';

const schema = z.object({
  /** The directory that becomes the image's root; created if it does not exist. */
  stagedRoot: path,
  /** Files and directories to copy into it. If `source` contains `*`, `target` is a directory. A source directory is
   *  copied *onto* `target`. Links are followed. A `mode` that makes a directory readable also makes it searchable.
   *  `user` and `group` are for chownContents, because names are defined only in the image. */
  contents: z.array(contentsEntry).readonly(),
});

const OLD_NAMES = { root: 'stagedRoot' } as const;

export type StageContentsOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface StagedContents {
  /** For each entry, in order: the matching sources, and their absolute paths in the root. */
  readonly entries: readonly {
    readonly target: string;
    readonly sources: readonly string[];
    readonly staged: readonly string[];
  }[];
  /** Extended attributes of the sources (capabilities, ACLs, labels), by paths in the root. They are for
   *  makeFilesystem, because only root could set most of them on staged files. */
  readonly attributes: readonly TreeAttribute[];
}

/** Arguments of rsync that copy one source. Owners are not copied; they are set later, by name, inside the image. */
export function stageContentsArgs(source: string, target: string, mode?: string): string[] {
  return [
    'rsync',
    '--archive',
    '--hard-links',
    '--sparse',
    '--no-owner',
    '--no-group',
    ...(mode === undefined ? [] : [`--chmod=${chmodOf(mode)}`]),
    '--',
    source,
    target,
  ];
}

/** A mode for rsync that adds x to r on directories, like X of chmod(1): a directory without x cannot be entered. */
function chmodOf(mode: string): string {
  return mode
    .split(',')
    .map((clause) => {
      if (/^[0-7]+$/.test(clause)) {
        const bits = Number.parseInt(clause, 8);
        return `F${clause},D${(bits | ((bits & 0o444) >> 2)).toString(8)}`;
      }
      return `F${clause},D${clause.replace(/[+=][wXst]*r(?!.*x).*$/, '$&x')}`;
    })
    .join(',');
}

/** Refuses to copy a directory into itself.
 *  @param directory the destination, which need not exist. @throws {InvalidOptionsError} */
export async function refuseInsideSource(
  step: string,
  contents: readonly ContentsEntry[],
  directory: string,
): Promise<void> {
  await refuseInsideEach(
    step,
    await Promise.all(contents.map((entry, index) => expandSource(entry, index))),
    directory,
  );
}

async function refuseInsideEach(step: string, plans: readonly (readonly string[])[], directory: string): Promise<void> {
  for (const [index, sources] of plans.entries())
    for (const source of sources) await refuseInside(step, source, directory, `contents[${index}].source`);
}

/** Copies files and directories into a root directory, like make-disk-image's `contents`.
 *  @throws {InvalidOptionsError} when a source is missing, a glob matches nothing, or a target leaves the root by `..`
 *  or through a symbolic link.
 *  @throws {UnexpectedStateError} "duplicate entry" when a target exists.
 *  @see rsync(1) — a trailing slash on the source copies the directory's contents. Runs: getfattr, rsync. */
export const stageContents: Step<StageContentsOptions, StagedContents> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['rsync', 'getfattr'],
  where: 'host',
  detail: ({ contents }) => `${contents.length} entries`,
  async run(step, { stagedRoot: root, contents }) {
    // All sources are checked before anything is written.
    const plans = await Promise.all(contents.map((entry, index) => expandSource(entry, index)));
    await refuseInsideEach(STEP, plans, root);
    await makeDirectories(root);
    const realRoot = await realpath(root);
    const entries = [];
    const attributes: TreeAttribute[] = [];
    for (const [index, entry] of contents.entries()) {
      const sources = plans[index] ?? [];
      const staged: string[] = [];
      for (const source of sources) {
        const target = await graftTarget(entry, source);
        const hostTarget = join(realRoot, target);
        await makeDirectoryInside(STEP, realRoot, dirname(target));
        if (await exists(hostTarget))
          throw new UnexpectedStateError(STEP, `duplicate entry ${target} -> ${source}`, {
            expected: 'no such path in the root',
            found: hostTarget,
          });
        // A link to a file of this host would dangle in the image.
        const file = await realpath(source);
        const isDirectory = (await stat(file)).isDirectory();
        // rsync recognizes `host:path` only before the first slash, and both paths are absolute.
        await step.run(stageContentsArgs(isDirectory ? `${file}/` : file, hostTarget, entry.mode));
        attributes.push(...(await attributesAt(step, file, target, index)));
        staged.push(target);
      }
      entries.push({ target: absoluteTarget(entry.target), sources, staged });
    }
    return { entries, attributes };
  },
});

/** Attributes by which a filesystem of this host describes its own files, such as compression or NFS ACLs. They are not
 *  copied.
 *  @see xattr(7), "Extended system attributes"; nfs4_acl(5); btrfs(5) */
const OF_THE_HOST = /^(?:system|btrfs)\./;

/** Reads the extended attributes of a source. @returns them by paths in the root. */
async function attributesAt(step: StepRunner, source: string, target: string, index: number): Promise<TreeAttribute[]> {
  const start = Buffer.from(source, 'utf8').toString('latin1');
  const place = Buffer.from(target, 'utf8').toString('latin1');
  const kept: TreeAttribute[] = [];
  const leftOut = new Set<string>();
  for (const [file, attributes] of await readAttributes(step, source))
    for (const { name, value } of attributes)
      if (holdsAttribute(name)) {
        const path = `${place === '/' ? '' : place}${file.slice(start.length)}`;
        kept.push({ target: path, name, value: value.toString('hex') });
      } else if (OF_THE_HOST.test(name)) leftOut.add(name);
      else
        throw new InvalidOptionsError(STEP, [
          {
            path: `contents[${index}].source`,
            message: `${file} has the extended attribute ${name}, which ext4 cannot store`,
          },
        ]);
  if (leftOut.size > 0) step.note(`${source}: attributes of its filesystem are not copied: ${[...leftOut].join(', ')}`);
  return kept;
}

function isGlob(entry: ContentsEntry): boolean {
  return entry.source.includes('*');
}

function absoluteTarget(target: string): string {
  return resolve('/', target);
}

async function graftTarget(entry: ContentsEntry, source: string): Promise<string> {
  if (isGlob(entry)) return join(absoluteTarget(entry.target), basename(source));
  const intoDirectory = entry.target.endsWith('/') && !(await stat(source)).isDirectory();
  return intoDirectory ? join(absoluteTarget(entry.target), basename(source)) : absoluteTarget(entry.target);
}

async function expandSource(entry: ContentsEntry, index: number): Promise<string[]> {
  const source = resolve(entry.source);
  const matches = isGlob(entry) ? await expandStars(STEP, source) : (await exists(source)) ? [source] : [];
  if (matches.length === 0)
    throw new InvalidOptionsError(STEP, [
      {
        path: `contents[${index}].source`,
        message: isGlob(entry) ? `${entry.source} matches nothing` : `${entry.source} does not exist`,
      },
    ]);
  for (const match of matches) {
    const facts = await stat(match).catch((cause: unknown) => {
      const why = isErrno(cause, 'ENOENT') ? 'is a dangling link' : `cannot be read: ${wordsFor(cause)}`;
      throw new InvalidOptionsError(STEP, [{ path: `contents[${index}].source`, message: `${match} ${why}` }], {
        cause,
      });
    });
    if (!facts.isFile() && !facts.isDirectory() && !facts.isFIFO())
      throw new InvalidOptionsError(STEP, [
        { path: `contents[${index}].source`, message: `${match} is a device or a socket, which cannot be copied` },
      ]);
  }
  return matches;
}
