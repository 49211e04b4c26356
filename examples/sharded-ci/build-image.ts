import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildImage } from 'nixos-disk-image';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    image: string;
  }
}

/** Builds the image before the tests of a shard, without a VM, and removes it after them. To merge reports, none is needed. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  if (project.vitest.config.mergeReports !== undefined) return undefined;
  const outDir = await mkdtemp(join(tmpdir(), 'image-'));
  const remove = () => rm(outDir, { recursive: true, force: true });
  try {
    const { image } = await buildImage({
      ...{ toplevel: process.env.TOPLEVEL ?? './result', store: process.env.STORE, outDir },
      ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec' },
    });
    project.provide('image', image);
    return remove;
  } catch (error) {
    await remove();
    throw error;
  }
}
