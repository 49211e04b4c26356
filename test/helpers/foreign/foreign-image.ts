import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { cachedFolder } from '../../../harness/cache-folder.ts';
import { localExecutor } from '../../../lib/local-executor.ts';

const SCRIPT = join(import.meta.dirname, 'build.sh');

/** An image that another builder made, kept in the cache: root's password is "foreign". Runs: mmdebstrap and what it needs. */
export async function foreignImage(): Promise<string> {
  const id = createHash('sha256')
    .update(await readFile(SCRIPT))
    .digest('hex')
    .slice(0, 16);
  const folder = await cachedFolder(`foreign-${id}`, async (made) => {
    const result = await localExecutor.run(['sh', SCRIPT, join(made, 'foreign.img')]);
    expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  });
  return join(folder, 'foreign.img');
}
