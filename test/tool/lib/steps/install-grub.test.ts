import { mkdir, open, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { installGrub } from '../../../../lib/steps/install-grub.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { bootJson, fakeSystem, HASH } from '../../../helpers/fake-system.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const ROOT_UUID = 'f222513b-ded1-49fa-b591-20ce86a2fe7f';

async function disk(partitionTableType: 'legacy' | 'legacy+gpt' | 'hybrid' | 'efi') {
  const directory = await tempDirectory();
  const [image, root] = [join(directory, 'disk.img'), join(directory, 'root')];
  await mkdir(root);
  await createDisk({ image, sizeBytes: 64 * MIB });
  const partitioned = await partitionDisk({ image, partitionTableType, bootSize: '40M' });
  if (partitioned.esp !== undefined)
    await makeBootFilesystem({ image, partition: partitioned.esp, volumeId: '1C06F03B' });
  const system = await fakeSystem(join(directory, 'store'), {
    json: bootJson({}, { quiet: bootJson({ kernelParams: ['quiet', 'x="a b"'] }) }),
  });
  const common = {
    ...{ image, disk: partitioned, root, rootUuid: ROOT_UUID, store: system.store, storePaths: system.storePaths },
    generations: [{ number: 1, toplevel: system.toplevel }],
    ...{ timeoutSeconds: 2, timestamp: 1 },
  };
  return { directory, image, root, system, common, disk: partitioned };
}

async function bytesAt(file: string, at: number, length: number): Promise<Buffer> {
  await using handle = await open(file, 'r');
  return (await handle.read(Buffer.alloc(length), 0, length, at)).buffer;
}

test('BIOS: boot sector and core image point to each other’s sectors, and the partition table is unchanged', async () => {
  const { image, root, system, common } = await disk('legacy');
  const table = await bytesAt(image, 440, 72);
  const { core } = await installGrub({ ...common, firmware: ['bios'] });
  expect((await bytesAt(image, 0x5c, 8)).readBigUInt64LE()).toBe(1n);
  expect((await bytesAt(image, 0x64, 1)).readUInt8()).toBe(0xff);
  expect((await bytesAt(image, 512 + 0x1f4, 8)).readBigUInt64LE()).toBe(2n);
  expect((await bytesAt(image, 512 + 0x1fc, 2)).readUInt16LE()).toBe(Math.ceil((core?.sizeBytes ?? 0) / 512) - 1);
  expect(await bytesAt(image, 440, 72)).toEqual(table);
  const config = await readFile(join(root, 'boot/grub/grub.cfg'), 'utf8');
  expect(config).toContain(
    'serial --unit=0 --speed=115200\nterminal_input --append serial\nterminal_output --append serial\n',
  );
  expect(config).toContain(`menuentry "NixOS - Default" --class nixos --unrestricted {
  search --no-floppy --set=drive1 --fs-uuid ${ROOT_UUID}
  search --no-floppy --set=drive2 --fs-uuid ${ROOT_UUID}
  linux ($drive2)/nix/store/${HASH}-linux/bzImage init=${system.toplevel}/init console=ttyS0,115200n8 loglevel=4
  initrd ($drive2)/nix/store/${HASH}-initrd/initrd
}
menuentry "NixOS - (quiet - 1970-01-01 - NixOS Fake 25.11)" {`);
  expect(config).toContain(`init=${system.toplevel}/init quiet x="a b"`);
});

test('the core image is in the BIOS boot partition, kernels and grub.cfg on the ESP, EFI at the removable media path', async () => {
  const { image, root, common, disk: partitioned } = await disk('hybrid');
  const installed = await installGrub({ ...common, firmware: ['bios', 'efi'] });
  expect((await bytesAt(image, 0x5c, 8)).readBigUInt64LE()).toBe(34n);
  expect(installed.core?.availableBytes).toBe(partitioned.biosGrub?.sizeBytes);
  const modules = /^grub\/(i386-pc|x86_64-efi)\/[\w-]+\.(mod|lst)$/;
  expect(installed.bootFiles.filter((file) => !modules.test(file))).toEqual([
    'grub/grub.cfg',
    'grub/grubenv',
    `kernels/${HASH}-initrd-initrd`,
    `kernels/${HASH}-linux-bzImage`,
  ]);
  for (const platform of ['i386-pc', 'x86_64-efi'])
    expect(installed.bootFiles).toEqual(
      expect.arrayContaining(['chain.mod', 'moddep.lst'].map((name) => `grub/${platform}/${name}`)),
    );
  const at = `${image}@@${partitioned.esp?.offsetBytes}`;
  const env = { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1' };
  expect(await run(['mtype', '-i', at, '::/grub/grub.cfg'], { env })).toContain(
    `search --no-floppy --set=drive1 --fs-uuid 1C06-F03B\n  linux ($drive1)/kernels/${HASH}-linux-bzImage`,
  );
  expect(await run(['mdir', '-b', '-i', at, '::/EFI/BOOT'], { env })).toContain('BOOTX64.EFI');
  await expect(readFile(join(root, 'boot/grub/grub.cfg'))).rejects.toThrow(/ENOENT/);
});

test('older generations are in a submenu, and without a serial console GRUB uses none', async () => {
  const { root, common, directory } = await disk('legacy+gpt');
  const system = await fakeSystem(join(directory, 'store'), { json: bootJson({ kernelParams: [] }) });
  const generations = [3, 5].map((number) => ({ number, toplevel: system.toplevel }));
  await installGrub({ ...common, firmware: ['bios'], generations });
  const config = await readFile(join(root, 'boot/grub/grub.cfg'), 'utf8');
  expect(config).not.toContain('serial');
  expect(config.match(/menuentry ".*"/g)).toEqual([
    'menuentry "NixOS"',
    'menuentry "NixOS - Configuration 5 (1970-01-01 - NixOS Fake 25.11)"',
    'menuentry "NixOS - Configuration 3 (1970-01-01 - NixOS Fake 25.11)"',
  ]);
  await run(['grub-script-check', join(root, 'boot/grub/grub.cfg')]);
});

test('a core image that does not fit is reported with sizes, and the disk is unchanged', async () => {
  const { image, common, disk: partitioned } = await disk('legacy');
  const before = await readFile(image);
  const [first] = partitioned.partitions;
  const cramped = { ...partitioned, partitions: first === undefined ? [] : [{ ...first, offsetBytes: 63 * 512 }] };
  const attempt = installGrub({ ...common, disk: cramped, firmware: ['bios'] });
  await expect(attempt).rejects.toThrow(
    /no space left in the gap after the MBR; needed \d+ bytes .*, available 31744 bytes/,
  );
  expect((await readFile(image)).equals(before)).toBe(true);
});

test.each([
  ['efi', ['bios'], /the GPT has no BIOS boot partition/],
  ['legacy', ['efi'], /there is no EFI system partition/],
] as const)('a disk with the layout %s has no place for %s', async (type, firmware, message) => {
  const { common } = await disk(type);
  await expect(installGrub({ ...common, firmware })).rejects.toThrow(message);
});

test('if the modules of a platform are missing, the error names the package', async () => {
  const { common, directory } = await disk('legacy');
  await expect(installGrub({ ...common, firmware: ['bios'], grubDirectory: join(directory, 'none') })).rejects.toThrow(
    /GRUB for i386-pc[\s\S]*grub-pc-bin/,
  );
});

test('a /boot link that leaves the root is not followed', async () => {
  const { common, directory, root } = await disk('legacy');
  await mkdir(join(directory, 'outside'));
  await symlink(join(directory, 'outside'), join(root, 'boot'));
  await expect(installGrub({ ...common, firmware: ['bios'] })).rejects.toThrow(
    /leaves the root through the symbolic link/,
  );
});
