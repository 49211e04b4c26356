import { expect, test } from 'vitest';
import { GIB, MIB } from '../lib/units.ts';
import { bootScenario, buildScenario } from './scenario.ts';

test.each([
  'raw',
  'qcow2-compressed',
] as const)('a 100 GiB disk occupies only the space of its contents: %s', async (format) => {
  const description = {
    system: 'tiny-systemd-boot',
    image: { partitionTableType: 'efi', diskSize: 100 * 1024, format },
    boots: ['efi'],
  } as const;
  const image = await buildScenario(description);
  expect(image.built.virtualBytes).toBe(100 * GIB);
  expect(image.built.allocatedBytes).toBeLessThan(300 * MIB);
  await bootScenario(image, description, 'efi');
});
