import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { removeTree } from '../../lib/host-files/private-output.ts';

/** A directory for one test, removed when it has finished. Its name has what paths may have: a space, a comma, a quote. */
export async function tempDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ndi test, it's-"));
  onTestFinished(() => removeTree(directory));
  return directory;
}
