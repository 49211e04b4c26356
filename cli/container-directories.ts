import { readlink, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { expandStars } from '../lib/host-files/expand-stars.ts';
import type { ImageSpec } from '../lib/spec/image-spec.ts';

/** More links than Linux follows. @see path_resolution(7) */
const MAX_LINKS = 40;

/** The directories of this host that programs in a container read when they build an image: those with the files that the
 *  specification names, and where links lead. What does not exist is left out, because the build reports it by its name. */
export async function containerDirectories(spec: ImageSpec): Promise<string[]> {
  const { secureBoot, partitions = [], contents } = spec;
  const pairs = [secureBoot, secureBoot?.platformKey, secureBoot?.keyExchangeKey];
  const [program] = spec.postVM ?? [];
  const sources = contents.map(async ({ source }) =>
    source.includes('*') ? expandStars('build', resolve(source)) : [source],
  );
  const named = [
    ...[spec.store, spec.closureInfo, spec.configFile, spec.efiVariables],
    ...pairs.flatMap((pair) => (pair === undefined ? [] : [pair.key, pair.certificate])),
    ...partitions.map(({ populateFrom }) => populateFrom),
    ...(await Promise.all(sources)).flat(),
    ...(program?.includes('/') === true ? [program] : []),
  ].filter((path) => path !== undefined);
  const found = (await Promise.all(named.map((path) => directoriesOf(resolve(path))))).flat();
  return [...new Set(found)];
}

/** A directory itself; the one that a file is in; and for a link also those on the way to what it means. */
async function directoriesOf(path: string): Promise<string[]> {
  const found: string[] = [];
  let at = path;
  for (let links = 0; links < MAX_LINKS; links += 1) {
    const isDirectory = await stat(at).then(
      (facts) => facts.isDirectory(),
      () => undefined,
    );
    if (isDirectory === undefined) return found;
    // The root of a container is the container's own.
    const place = isDirectory || dirname(at) === '/' ? at : dirname(at);
    const parent = await realpath(dirname(at));
    found.push(place, await realpath(place));
    const link = await readlink(at).catch(() => undefined);
    if (link === undefined) return found;
    at = resolve(parent, link);
  }
  return found;
}
