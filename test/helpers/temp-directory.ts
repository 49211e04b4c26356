import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { removeTree } from '../../lib/host-files/private-output.ts';

/** Creates a directory for one test, which is removed after it. Its name has a space, a comma and a quote. */
export async function tempDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "ndi test, it's-"));
  onTestFinished(() => removeTree(directory));
  return directory;
}
