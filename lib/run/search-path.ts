import { delimiter } from 'node:path';

/** PATH with the folders of the administration tools, which an ordinary user of Debian has not. */
export function searchPath(path = process.env.PATH ?? ''): string {
  const folders = path.split(delimiter).filter((folder) => folder !== '');
  for (const folder of ['/usr/local/sbin', '/usr/sbin', '/sbin']) if (!folders.includes(folder)) folders.push(folder);
  return folders.join(delimiter);
}
