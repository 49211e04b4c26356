import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { renderInspection } from '../../../../cli/inspect.ts';
import { type BuiltImage, buildImage } from '../../../../lib/build/build-image.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { convertImage } from '../../../../lib/steps/convert-image.ts';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

let demo: Awaited<ReturnType<typeof prepareDemo>>;
beforeAll(async () => {
  demo = await prepareDemo();
});

async function image(system: string, partitionTableType: 'efi' | 'hybrid' | 'legacy' | 'none'): Promise<BuiltImage> {
  return buildImage({
    ...{ toplevel: demo.systems[system] ?? '', store: demo.store, outDir: await tempDirectory(), partitionTableType },
    ...{ bootSize: '64M', additionalSpace: '16M', bootLoaderFrom: 'bootspec' },
  });
}

test('a NixOS image is reported with its loaders, entries, generations and store, in every format', async () => {
  const built = await image('tiny-systemd-boot', 'efi');
  const inspection = await inspectImage({ image: built.image });
  expect(inspection).toMatchObject({
    ...{ table: 'gpt', firmware: ['efi'], findings: [], serialConsole: true },
    bios: { loader: 'none' },
    efi: { architectures: ['x64'] },
    generations: [{ number: 1, toplevel: built.system.toplevel, isDefault: true }],
    storePaths: built.system.storePaths.length,
  });
  expect(inspection.efi.bootEntries.map(({ file }) => file).sort()).toEqual([
    'loader/entries/nixos-generation-1-specialisation-verbose.conf',
    'loader/entries/nixos-generation-1.conf',
  ]);
  const root = inspection.partitions.at(-1);
  expect(root?.filesystem).toMatchObject({ type: 'ext4', label: 'nixos', uuid: built.filesystem.uuid });
  expect(root?.filesystem?.freeBytes).toBe(built.filesystem.freeBytes);

  const qcow2 = join(await tempDirectory(), 'image.qcow2');
  await convertImage({ source: built.image, target: qcow2, format: 'qcow2-compressed' });
  const again = await inspectImage({ image: qcow2 });
  expect({ ...again, image: '', format: 'raw' }).toEqual({ ...inspection, image: '' });
});

test('the picture has a box for each partition, in disk order', async () => {
  const built = await image('tiny-grub-hybrid', 'hybrid');
  const text = renderInspection(await inspectImage({ image: built.image }));
  const [, , edge = '', names = ''] = text.split('\n');
  expect(edge.match(/┬/g)).toHaveLength(2);
  expect(names.split('│').map((cell) => cell.trim().slice(0, 1))).toEqual(['', '2', '1', '3', '']);
  expect(text).toMatch(/BIOS {2}GRUB/);
  expect(text).toMatch(/EFI {3}EFI\/BOOT\/BOOTX64\.EFI/);
  expect(text).toMatch(/generation 1 \(default\) {2}\/nix\/store\//);
});

test('an image that cannot boot is reported with exit status 1', async () => {
  const built = await image('tiny-grub-bios', 'legacy');
  await run(['dd', 'if=/dev/zero', `of=${built.image}`, 'bs=440', 'count=1', 'conv=notrunc']);
  const { findings, firmware } = await inspectImage({ image: built.image });
  expect(firmware).toEqual(['bios']);
  expect(findings).toMatchObject([{ code: 'no-boot-code', severity: 'fatal' }]);
});

test('a root filesystem alone, with a menu for a host’s own loader, is not broken', async () => {
  const built = await image('tiny-grub-menu', 'none');
  const inspection = await inspectImage({ image: built.image });
  expect(inspection).toMatchObject({ table: 'none', firmware: [], filesystem: { type: 'ext4' }, findings: [] });
  const menu = await run(['debugfs', '-R', 'cat /boot/grub/grub.cfg', built.image]);
  expect(menu).toContain(`init=${built.system.toplevel}/init`);
});
