import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { demoImage } from '../../helpers/demo-image.ts';
import { installExample } from '../../helpers/packed-package.ts';
import { run } from '../../helpers/run.ts';

test('the example boots an image, and its page has the boots', async () => {
  const { image } = await demoImage('tiny-grub-hybrid', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  const example = await installExample('boot-tests');
  await mkdir(join(example, 'images'));
  await copyFile(image, join(example, 'images/nixos.img'));
  expect(await run(['npm', 'test'], { cwd: example })).toMatch(/3 passed/);
  const page = await readFile(join(example, 'boots.html'), 'utf8');
  expect(page.match(/<section id="boot-/g)).toHaveLength(2);
});
