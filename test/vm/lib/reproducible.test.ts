import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import { packageFile } from '../../../harness/cache-directory.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import { diffImages } from '../../../lib/diff/diff-images.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

test.each([
  ['hybrid', 'tiny-grub-hybrid', 'bios'],
  ['efi', 'tiny-systemd-boot', 'efi'],
] as const)('%s, %s: a build with the VM gives the same bytes years later, and they boot', async (partitionTableType, system, firmware) => {
  const demo = await prepareDemo();
  const directory = await tempDirectory();
  const specification = {
    ...{ toplevel: demo.systems[system] ?? '', store: demo.store, partitionTableType },
    ...{ additionalSpace: '32M', bootSize: '60M', reproducible: true },
  };
  const first = await buildImage({ ...specification, outDir: join(directory, 'a') }, { startBuilder: startBuilderVm });
  await writeFile(join(directory, 'image.json'), JSON.stringify(specification));
  const argv = [
    process.execPath,
    packageFile('dist/cli/main.js'),
    'build',
    join(directory, 'image.json'),
    '--out',
    join(directory, 'b'),
  ];
  const second = (await run(['faketime', '-f', '+1500d', ...argv], { env: { TZ: 'Asia/Tokyo' } })).trim();
  const [a, b] = [await readFile(first.image), await readFile(second)];
  if (!a.equals(b)) expect(await diffImages({ a: first.image, b: second })).toEqual([]);
  expect(a.equals(b)).toBe(true);
  expect((await verifyBoot({ image: first.image, firmware })).ok).toBe(true);
});

test('after the second layout, every path has the type, mode, owner and target from the VM', async () => {
  const demo = await prepareDemo();
  const directory = await tempDirectory();
  const specification = {
    ...{ toplevel: demo.systems['tiny-grub-bios'] ?? '', store: demo.store, partitionTableType: 'legacy' as const },
    additionalSpace: '32M',
  };
  const build = (outDir: string, reproducible: boolean) =>
    buildImage({ ...specification, outDir: join(directory, outDir), reproducible }, { startBuilder: startBuilderVm });
  const [left, again] = [await build('left', false), await build('again', true)];
  const differences = await diffImages({ a: left.image, b: again.image });
  const fields = ['type', 'mode', 'user', 'group', 'target', undefined];
  expect(differences.filter(({ where, field }) => where.includes('ext4') && fields.includes(field))).toEqual([]);
  const shadow = await run(['debugfs', '-R', 'stat /etc/shadow', `./nixos.img?offset=${again.disk.root.offsetBytes}`], {
    cwd: join(directory, 'again'),
  });
  expect(shadow).toMatch(/Mode: +0640[\s\S]*User: +0 +Group: +42/);
});
