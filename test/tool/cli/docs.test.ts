import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { codeBlock, commandsOf } from '../../helpers/code-blocks.ts';
import { demoImage, SYSTEM_OF_LAYOUT } from '../../helpers/demo-image.ts';
import { run } from '../../helpers/run.ts';

// What docs/command-line.md tells people to type is typed here, in a directory with an image.

let directory: string;
beforeAll(async () => {
  const { image } = await demoImage(SYSTEM_OF_LAYOUT.efi, { partitionTableType: 'efi', bootLoaderFrom: 'bootspec' });
  directory = dirname(image);
  const { store, systems } = await prepareDemo();
  await symlink(join(store, systems[SYSTEM_OF_LAYOUT.efi] ?? ''), join(directory, 'result'));
  await mkdir(join(directory, 'bin'));
  await symlink(packageFile('dist/cli/main.js'), join(directory, 'bin/nixos-disk-image'));
});

test.each([
  'nixos-disk-image schema --of inspect',
  'nixos-disk-image build --toplevel ./result --partition-table-type efi --explain',
])('%s', async (beginning) => {
  const commands = commandsOf(codeBlock(beginning));
  expect(commands.length).toBeGreaterThan(0);
  for (const command of commands)
    await run(['bash', '-euc', command], {
      cwd: directory,
      env: { PATH: `${join(directory, 'bin')}:${process.env.PATH}` },
    });
});
