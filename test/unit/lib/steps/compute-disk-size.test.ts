import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TreeEntry } from '../../../../lib/filesystem/tree.ts';
import { PARTITION_TABLE_TYPES } from '../../../../lib/formats/layouts.ts';
import { runStep } from '../../../../lib/run/step.ts';
import { sumDiskSize, treeUsage } from '../../../../lib/steps/compute-disk-size.ts';
import { MIB } from '../../../../lib/units.ts';

test('counts the blocks of everything except directories, and an inode for every entry', async () => {
  const entry = (type: TreeEntry['type'], sizeBytes: number): TreeEntry => ({
    ...{ path: 'a', type, mode: 0o644, uid: 0, gid: 0, sizeBytes },
    ...{ mtime: 1, source: '/a', target: '', hardLink: undefined },
  });
  const tree = [
    entry('directory', 4096),
    ...[1, 4096, 4097, 0].map((size) => entry('file', size)),
    entry('symlink', 12),
  ];
  const usage = await runStep('test', undefined, undefined, (step) => treeUsage(step, tree));
  expect(usage).toEqual({ dataBlocks: 1 + 1 + 2 + 1 + 0, inodes: 6, largestBytes: 4097, hostBytes: 0 });
});

test('gives the size of make-disk-image for an ordinary tree', () => {
  const usage = { dataBlocks: 100_000, inodes: 20_000, largestBytes: 4096, hostBytes: 0 };
  const size = sumDiskSize(usage, 'hybrid', 256 * MIB, 512 * MIB);
  const usageBytes = (100_000 + 2 * 20_000) * 4096;
  expect(size).toMatchObject({
    usageBytes,
    fudgeBytes: Math.ceil(usageBytes * 0.052),
    additionalBytes: 512 * MIB,
    shortfallBytes: 0,
  });
  expect(size.reservedBytes).toBe(257 * MIB);
  expect(size.diskBytes).toBe(Math.ceil((usageBytes + size.fudgeBytes + 512 * MIB + 257 * MIB) / MIB) * MIB);
});

test('the parts always add up, the disk is a multiple of 1 MiB, and every entry has an inode', () => {
  const usage = fc.record({
    dataBlocks: fc.nat(10_000_000),
    inodes: fc.integer({ min: 1, max: 5_000_000 }),
    largestBytes: fc.constant(4096),
    hostBytes: fc.constant(0),
  });
  fc.assert(
    fc.property(
      usage,
      fc.constantFrom(...PARTITION_TABLE_TYPES),
      fc.integer({ min: 9, max: 2048 }),
      fc.nat(4096),
      (tree, type, boot, additional) => {
        const size = sumDiskSize(tree, type, boot * MIB, additional * MIB);
        const sum = size.usageBytes + size.fudgeBytes + size.additionalBytes + size.reservedBytes + size.shortfallBytes;
        expect(size.diskBytes).toBe(Math.ceil(sum / MIB) * MIB);
        expect(size.inodeCount).toBeGreaterThan(tree.inodes);
      },
    ),
  );
});
