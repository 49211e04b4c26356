import { test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { formatBytes } from '../../lib/units.ts';
import { run } from '../helpers/run.ts';
import { report } from './table.ts';

test('the size of the tarball', async () => {
  const packed = await run(['npm', 'pack', '--ignore-scripts', packageFile('.'), '--dry-run', '--json', '--silent']);
  const [{ size, unpackedSize }] = JSON.parse(packed) as [{ size: number; unpackedSize: number }];
  report('the package’s tarball', formatBytes(size), '≤ 600 KiB');
  report('the package, unpacked', formatBytes(unpackedSize), '≤ 2 MiB');
});
