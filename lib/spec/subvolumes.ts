import { z } from 'zod';
import { mountDirectory } from '../filesystem/subvolumes.ts';
import { absolutePath } from './fields.ts';

/** Subvolumes of a btrfs, in the options of steps and in `partitions`. */

/** A path from the top level of a btrfs. As in disko, it may begin with a slash. */
export const subvolumePath = z
  .string()
  .transform((text) => text.replace(/^\//, ''))
  .refine((text) => text.split('/').every((name) => name !== '' && name !== '.' && name !== '..'), {
    error: 'must be a path such as "@home", without ".." and "//"',
  })
  .refine((text) => !/\p{Cc}/u.test(text), 'must not contain control characters')
  .refine(
    (text) => text.split('/').every((name) => Buffer.byteLength(name) <= 255),
    'has a name of more than 255 bytes',
  );

export const subvolumes = z.array(z.strictObject({ path: subvolumePath, directory: absolutePath.optional() }));

/** What subvolumes must be like among each other. `at` is where one is mounted. */
export function problemsWithSubvolumes(
  given: readonly { readonly path: string; readonly at?: string | undefined }[],
): { readonly index: number; readonly field: 'path' | 'at'; readonly message: string }[] {
  const all = given.map(({ path, at }) => ({ path, directory: at }));
  return given.flatMap(({ path, at }, index) => {
    const before = given.slice(0, index);
    const problems: { readonly index: number; readonly field: 'path' | 'at'; readonly message: string }[] = [];
    if (before.some((one) => one.path === path))
      problems.push({ index, field: 'path', message: 'is that of another one as well' });
    if (at !== undefined && before.some((one) => one.at === at))
      problems.push({ index, field: 'at', message: 'is that of another one as well' });
    const directory = at === undefined || at === '/' ? undefined : mountDirectory(all, at);
    if (directory !== undefined && path.startsWith(`${directory}/`))
      problems.push({ index, field: 'path', message: 'is inside of the directory whose files it would get' });
    return problems;
  });
}
