import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { buildImage } from '../../../lib/build/build-image.ts';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

test.each([
  'none',
  'legacy+gpt',
] as const)('onlyNixStore: the filesystem has only the store paths, at its root: %s', async (partitionTableType) => {
  const { store, systems } = await prepareDemo();
  const built = await buildImage({
    ...{ toplevel: systems['tiny-none'] ?? '', store, outDir: await tempDirectory(), partitionTableType },
    ...{ onlyNixStore: true, installBootLoader: false, additionalSpace: '8M', reproducible: true },
  });
  const { partitions, filesystem } = await inspectImage({ image: built.image });
  expect((partitions.at(-1)?.filesystem ?? filesystem)?.label).toBe('nix-store');
  const { offsetBytes } = built.disk.root;
  const at = `./${basename(built.image)}${offsetBytes === 0 ? '' : `?offset=${offsetBytes}`}`;
  const cwd = dirname(built.image);
  const listed = await run(['debugfs', '-R', 'ls -p /', at], { cwd });
  const names = [...listed.matchAll(/^\/\d+\/\d+\/\d+\/\d+\/([^/]+)\//gm)].map(([, name = '']) => name).sort();
  const paths = built.system.storePaths.map((path) => basename(path));
  expect(names).toEqual(['.', '..', 'lost+found', ...paths].sort());
  const file = join('/', basename(built.system.toplevel), 'nixos-version');
  expect(await run(['debugfs', '-R', `cat ${file}`, at], { cwd })).toBe('25.11-tiny');
  await run(['e2fsck', '-fn', at], { cwd });
});

test.each([
  [{ contents: [{ source: '/etc/hostname', target: '/x' }] }, /contradicts contents/],
  [{ configFile: '/x' }, /contradicts configFile/],
  [{ installBootLoader: true }, /contradicts installBootLoader/],
  [{ fsType: 'xfs' as const }, /contradicts fsType "xfs"/],
])('onlyNixStore contradicts %j', async (more, message) => {
  const options = { toplevel: '/x', outDir: '/nonexistent', onlyNixStore: true, installBootLoader: false, ...more };
  await expect(buildImage(options)).rejects.toThrow(message);
});
