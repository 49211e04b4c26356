import { delimiter } from 'node:path';

/** PATH, extended by the sbin directories, which an ordinary user's PATH lacks on Debian. */
export function searchPath(path = process.env.PATH ?? ''): string {
  const directories = path.split(delimiter).filter((directory) => directory !== '');
  for (const directory of ['/usr/local/sbin', '/usr/sbin', '/sbin'])
    if (!directories.includes(directory)) directories.push(directory);
  return directories.join(delimiter);
}
