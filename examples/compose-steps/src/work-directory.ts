import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from 'nixos-disk-image';

/** Makes a directory in `parent` for everything unfinished: `await using` removes it, whether the work succeeds or not. */
export async function workDirectory(parent: string): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(parent, '.building-'));
  return {
    path,
    async [Symbol.asyncDispose]() {
      // A staged Nix store has directories without write permission.
      await removeTree(path);
    },
  };
}
