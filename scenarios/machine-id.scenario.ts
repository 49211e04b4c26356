import { basename, dirname } from 'node:path';
import { expect, test } from 'vitest';
import type { BootCheck } from '../harness/verify/checks.ts';
import { localExecutor } from '../lib/run/local-executor.ts';
import { bootScenario, buildScenario } from './scenario.ts';

test('the image has no machine ID, and each boot generates its own', async () => {
  const description = { system: 'demo-grub-bios', image: { partitionTableType: 'legacy' }, boots: ['bios'] } as const;
  const image = await buildScenario(description);
  const { built } = image;
  const at = `${basename(built.image)}?offset=${built.disk.root.offsetBytes}`;
  const inImage = await localExecutor.run(['debugfs', '-R', 'stat /etc/machine-id', at], { cwd: dirname(built.image) });
  expect(inImage.stderr.toString('utf8')).toMatch(/File not found/);
  const seen: string[] = [];
  const readMachineId: BootCheck = {
    name: 'machine-id',
    async run(machine) {
      const id = await machine.succeed('cat /etc/machine-id');
      seen.push(id);
      return id;
    },
  };
  for (let boot = 0; boot < 2; boot += 1)
    await bootScenario(image, { ...description, inside: [readMachineId] }, 'bios');
  expect(seen[0]).toMatch(/^[0-9a-f]{32}$/);
  expect(seen[1]).toMatch(/^[0-9a-f]{32}$/);
  expect(seen[0]).not.toBe(seen[1]);
});
