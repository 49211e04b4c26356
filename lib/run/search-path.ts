import { delimiter } from 'node:path';

/** PATH with the directories of the administration tools, which an ordinary user of Debian has not. */
export function searchPath(path = process.env.PATH ?? ''): string {
  const directories = path.split(delimiter).filter((directory) => directory !== '');
  for (const directory of ['/usr/local/sbin', '/usr/sbin', '/sbin'])
    if (!directories.includes(directory)) directories.push(directory);
  return directories.join(delimiter);
}
