import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes a directory in `parent` for everything unfinished: `await using` removes it, whether the work succeeds or not. */
export async function workDirectory(parent: string): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(parent, '.building-'));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
