import type { Stats } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { openExt4 } from '../filesystem/ext4/open.ts';
import type { Ext4Node } from '../filesystem/ext4/volume.ts';
import type { Ext4FileType } from '../formats/ext4/inode.ts';
import { requireDisk } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { ImageTooSmallError, InvalidOptionsError, ToolFailedError, UnexpectedStateError } from '../run/errors.ts';
import { absolutePath, path } from '../spec/fields.ts';

const STEP = 'copyToFilesystem';

const schema = z.object({
  /** A raw disk image. */
  image: path,
  /** The partition, as partitionDisk returns it; number 0 is the whole image. */
  partition: z.object({ number: z.int().min(0).optional(), offsetBytes: z.int().min(0) }),
  /** Files and directories on this host; each is copied into `targetDirectory` under its own name. */
  sources: z.array(path).min(1, 'must name at least one source').readonly(),
  /** A directory that exists in the filesystem; default "/". */
  targetDirectory: absolutePath.default('/'),
  /** Default "ext4", the only supported type, because only ext4 can be verified afterwards. */
  fsType: z.string().default('ext4'),
});

const OLD_NAMES = { targetFolder: 'targetDirectory' } as const;

export type CopyToFilesystemOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

export interface CopiedToFilesystem {
  /** How many files and directories were verified in the image. */
  readonly count: number;
  /** @deprecated Use `count`. */
  readonly entries: number;
}

/** Arguments of cptofs. */
export function copyToFilesystemArgs(options: z.input<typeof schema>): string[] {
  const { image, partition, sources, targetDirectory = '/', fsType = 'ext4' } = options;
  return [
    'cptofs',
    '-p',
    ...(partition.number === undefined || partition.number === 0 ? [] : ['-P', `${partition.number}`]),
    '-t',
    fsType,
    '-i',
    image,
    ...sources,
    targetDirectory,
  ];
}

/** Errors that cptofs prints while exiting with status 0. Lines of the kernel (-p) start with a timestamp and are
 *  ignored. */
const FAILURES =
  /^(?!\[\s*\d+\.\d+\]).*(error processing entry|unsupported entry type|unable to (open|create|symlink|chmod|set)|error (reading|writing)|fsimg lstat|can't mount|No space left on device).*$/m;

/** Copies files into an ext4 filesystem inside an image with LKL's cptofs, without root and without mounting.
 *
 *  cptofs may exit with status 0 when the copy failed. So its output is searched for errors, sources whose names it
 *  cannot handle are refused, the image is synced, and then every entry is verified in the image by its type and size.
 *  @throws {InvalidOptionsError} for sources whose names cptofs would treat as a pattern, or silently skip.
 *  @throws {ImageTooSmallError}, {ToolFailedError} when its output reports a failure.
 *  @throws {UnexpectedStateError} when an entry is missing from the image.
 *  @see cptofs.c in LKL; lkl issue 466. Runs: cptofs. */
export const copyToFilesystem: Step<CopyToFilesystemOptions, CopiedToFilesystem> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['cptofs'],
  where: 'host',
  async prepare(parsed) {
    await requireDisk(STEP, parsed.image);
    await refuseUnnameable(parsed.sources);
  },
  detail: ({ sources }) => `${sources.length} sources`,
  async run(step, parsed) {
    const sources = parsed.sources.map((source) => resolve(source));
    const argv = copyToFilesystemArgs({ ...parsed, fsType: 'ext4', image: resolve(parsed.image), sources });
    const result = await step.run(argv, { what: `cannot copy into ${parsed.image}` });
    const output = `${result.stdout.toString('utf8')}\n${result.stderr.toString('utf8')}`;
    const reported = FAILURES.exec(output)?.[0];
    if (reported !== undefined) {
      const cause = new ToolFailedError(
        {
          step: STEP,
          argv,
          exitCode: result.exitCode,
          signal: result.signal,
          outputTail: output.slice(-4096),
          durationMs: result.durationMs,
          executor: step.executor.name,
        },
        { what: `cptofs failed, although it exited with status 0: ${reported.trim()}` },
      );
      if (/No space left on device/.test(output))
        throw new ImageTooSmallError(
          STEP,
          `the filesystem of ${parsed.image}`,
          {},
          { cause, detail: cause.message, hint: 'set a larger diskSize' },
        );
      throw cause;
    }
    const handle = await open(parsed.image, 'r+');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    const inImage = await listExt4(parsed.image, parsed.partition.offsetBytes);
    const prefix = parsed.targetDirectory
      .split('/')
      .filter((part) => part !== '')
      .join('/');
    let count = 0;
    for (const source of sources)
      count += await checkCopied(source, prefix === '' ? basename(source) : `${prefix}/${basename(source)}`, inImage);
    return { count, entries: count };
  },
});

async function refuseUnnameable(sources: readonly string[]): Promise<void> {
  const issues = [];
  for (const [index, source] of sources.entries()) {
    const name = basename(source);
    const where = `sources[${index}]`;
    if (name === '' || name === '.' || name === '..')
      issues.push({ path: where, message: `${source} does not end with a name; cptofs would copy nothing` });
    else if (/[*?[\\]/.test(name))
      issues.push({ path: where, message: `${source}: cptofs would treat its name as a pattern` });
    else {
      const facts = await lstat(source).catch(() => undefined);
      if (facts === undefined) issues.push({ path: where, message: `${source} does not exist` });
      else if (!facts.isFile() && !facts.isDirectory() && !facts.isSymbolicLink())
        issues.push({ path: where, message: `${source}: cptofs copies only files, directories and symbolic links` });
    }
  }
  if (issues.length > 0) throw new InvalidOptionsError(STEP, issues);
}

async function checkCopied(source: string, target: string, inImage: ReadonlyMap<string, Ext4Node>): Promise<number> {
  const facts = await lstat(source);
  const found = inImage.get(target);
  if (found === undefined)
    throw new UnexpectedStateError(STEP, `${source} was not copied, although cptofs exited with status 0`, {
      expected: `/${target} in the image`,
      found: 'no such entry',
    });
  if (found.type !== typeOf(facts) || (facts.isFile() && found.sizeBytes !== facts.size))
    throw new UnexpectedStateError(STEP, `${source} was not copied completely, although cptofs exited with status 0`, {
      expected: `${facts.size} bytes`,
      found: `a ${found.type} of ${found.sizeBytes} bytes`,
    });
  let count = 1;
  if (facts.isDirectory())
    for (const name of await readdir(source))
      count += await checkCopied(join(source, name), `${target}/${name}`, inImage);
  return count;
}

function typeOf(facts: Stats): Ext4FileType {
  if (facts.isDirectory()) return 'directory';
  return facts.isSymbolicLink() ? 'symlink' : 'regular';
}

/** Lists the files in the filesystem, by path as UTF-8. */
async function listExt4(image: string, offsetBytes: number): Promise<Map<string, Ext4Node>> {
  await using disk = await open(image, 'r');
  const volume = await openExt4(disk, { offsetBytes, sizeBytes: Number.MAX_SAFE_INTEGER });
  if (typeof volume === 'string')
    throw new UnexpectedStateError(STEP, `the filesystem of ${image} cannot be read`, { found: `one that ${volume}` });
  const found = new Map<string, Ext4Node>();
  for await (const { path: name, node } of volume.tree()) found.set(Buffer.from(name, 'latin1').toString('utf8'), node);
  return found;
}
