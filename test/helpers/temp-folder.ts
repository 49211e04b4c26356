import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { removeTree } from '../../lib/host-files/private-output.ts';

/** A folder for one test, removed when it has finished. Its name has what paths may have: a space, a comma, a quote. */
export async function tempFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "ndi test, it's-"));
  onTestFinished(() => removeTree(folder));
  return folder;
}
