import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../run/errno.ts';
import { UnexpectedStateError } from '../run/errors.ts';

/** Expands an absolute pattern in which `*` matches any part of one name, like a shell without dotglob. */
export async function expandStars(step: string, pattern: string): Promise<string[]> {
  let found = ['/'];
  for (const segment of pattern.split('/').slice(1)) {
    if (!segment.includes('*')) {
      found = found.map((directory) => join(directory, segment));
      continue;
    }
    const name = new RegExp(`^${segment.split('*').map(escapeRegExp).join('.*')}$`, 's');
    const next: string[] = [];
    for (const directory of found) {
      const names = await readdir(directory).catch(() => []);
      // Node replaces bytes that are not UTF-8, so that such a file would silently be missing.
      const lost = names.find((candidate) => candidate.includes('\ufffd') && name.test(candidate));
      if (lost !== undefined)
        throw new UnexpectedStateError(step, `${directory} contains a name that is not UTF-8 (${lost})`, {
          hint: 'rename it, or copy the whole directory',
        });
      for (const candidate of names.sort())
        if (name.test(candidate) && (segment.startsWith('.') || !candidate.startsWith('.')))
          next.push(join(directory, candidate));
    }
    found = next;
  }
  const present = await Promise.all(found.map(exists));
  return found.filter((_, index) => present[index]);
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Whether there is anything at a path, even a link to nothing. */
export async function exists(file: string): Promise<boolean> {
  try {
    await lstat(file);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR')) return false;
    throw error;
  }
}
