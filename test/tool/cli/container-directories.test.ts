import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { containerDirectories } from '../../../cli/container-directories.ts';
import { parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

const TOPLEVEL = '/nix/store/00000000000000000000000000000000-nixos-system';

test('a container gets the directories of all files that programs read, and those that links lead to', async () => {
  const directory = await tempDirectory();
  const at = (path: string): string => join(directory, path);
  for (const name of ['a', 'b', 'keys', 'c:d', 'trees/x*y', 'trees/x1y', 'hook', 'store'])
    await mkdir(at(name), { recursive: true });
  for (const name of ['c:d/file', 'keys/key', 'keys/certificate', 'hook/run', 'trees/x1y/one'])
    await writeFile(at(name), '');
  await symlink('../b/link', at('a/link'));
  await symlink(at('c:d/file'), at('b/link'));
  await symlink('round', at('a/round'));
  const found = await containerDirectories(
    parseImageSpec({
      ...{ toplevel: TOPLEVEL, store: at('store'), postVM: [at('hook/run'), at('not-this')] },
      secureBoot: { key: at('keys/key'), certificate: at('keys/certificate') },
      contents: [
        { source: at('a/link'), target: '/link' },
        { source: at('a/round'), target: '/round' },
        { source: at('trees/*'), target: '/all' },
        { source: at('missing'), target: '/missing' },
      ],
      ...{ bootLoaderFrom: 'bootspec', touchEFIVars: false },
      partitions: [
        { type: 'esp', mountPoint: '/boot' },
        { mountPoint: '/' },
        { populateFrom: at('trees/x*y'), filesystem: 'ext4' },
      ],
    }),
  );
  const expected = ['a', 'b', 'c:d', 'hook', 'keys', 'store', 'trees/x*y', 'trees/x1y'].map(at);
  expect(found.toSorted()).toEqual(expected.toSorted());
});
