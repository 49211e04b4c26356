import { expect, test } from 'vitest';
import { imageFileName } from '../../../../lib/formats/image-formats.ts';
import { storeUri } from '../../../../lib/nix/store.ts';
import { convertImageArgs } from '../../../../lib/steps/convert-image.ts';
import { copyToFilesystemArgs } from '../../../../lib/steps/copy-to-filesystem.ts';
import { copyClosureArgs } from '../../../../lib/steps/install-system.ts';
import { makeBootFilesystemArgs } from '../../../../lib/steps/make-boot-filesystem.ts';
import { makeFilesystemArgs } from '../../../../lib/steps/make-filesystem.ts';
import { mountBootFilesystemArgs } from '../../../../lib/steps/mount-boot-filesystem.ts';
import { nixosEnterArgs } from '../../../../lib/steps/nixos-enter.ts';
import { fixIdentifiersArgs, partitionDiskArgs } from '../../../../lib/steps/partition-disk.ts';
import { stageContentsArgs } from '../../../../lib/steps/stage-contents.ts';
import { tuneFilesystemArgs } from '../../../../lib/steps/tune-filesystem.ts';

test('makeFilesystem: offset in bytes, size in KiB, one -E', () => {
  const argv = makeFilesystemArgs({
    image: '/out/my disk.img',
    partition: { offsetBytes: 1048576, sizeBytes: 104857600 },
    label: 'root',
    uuid: 'F222513B-DED1-49FA-B591-20CE86A2FE7F',
    hashSeed: '11111111-1111-1111-1111-111111111111',
    inodeCount: 4096,
  });
  expect(argv.join(' ')).toBe(
    'mkfs.ext4 -q -F -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum -b 4096 -I 256 -L root -U F222513B-DED1-49FA-B591-20CE86A2FE7F -N 4096 -E offset=1048576,lazy_journal_init=1,hash_seed=11111111-1111-1111-1111-111111111111 ./my disk.img 102400K',
  );
});

test('partitionDisk', () => {
  expect(partitionDiskArgs('./d.img', 'legacy', 0)).toEqual([
    'parted',
    '--script',
    '--align',
    'optimal',
    '--',
    './d.img',
    'mklabel',
    'msdos',
    'mkpart',
    'primary',
    'ext4',
    '1MiB',
    '100%',
  ]);
  expect(fixIdentifiersArgs('./d.img', 'legacy', 'X').map((argv) => argv.join(' '))).toEqual([
    'sfdisk --quiet --no-reread --no-tell-kernel --disk-id ./d.img 0x97fd5997',
  ]);
  expect(fixIdentifiersArgs('./d.img', 'efi', 'R').map((argv) => argv.join(' '))).toEqual([
    'sfdisk --quiet --no-reread --no-tell-kernel --disk-id ./d.img 97FD5997-F390-0B4A-A3F8-D106C1723AEA',
    'sfdisk --quiet --no-reread --no-tell-kernel --part-uuid ./d.img 1 1C06F03B-704E-4657-B9CD-681A087A2FDC',
    'sfdisk --quiet --no-reread --no-tell-kernel --part-uuid ./d.img 2 R',
  ]);
});

test('makeBootFilesystem: the offset in sectors, the size in KiB, the FAT that mkfs would choose', () => {
  const partition = { offsetBytes: 8 * 1024 ** 2, sizeBytes: 248 * 1024 ** 2 };
  expect(makeBootFilesystemArgs({ image: '/out/d.img', partition, volumeId: '1C06F03B', timestamp: 1 }).join(' ')).toBe(
    'mkfs.vfat -F 16 --offset 16384 --invariant -i 1C06F03B -n ESP ./d.img 253952',
  );
  const large = { offsetBytes: 0, sizeBytes: 512 * 1024 ** 2 };
  expect(makeBootFilesystemArgs({ image: 'd.img', partition: large, label: 'BOOT' }).join(' ')).toBe(
    'mkfs.vfat -F 32 --offset 0 -n BOOT ./d.img 524288',
  );
});

test('the other commands', () => {
  expect(convertImageArgs('/a', '/b', 'qcow2-compressed').join(' ')).toBe(
    'qemu-img convert -p -f raw -O qcow2 -c -S 4k /a /b',
  );
  expect(
    copyToFilesystemArgs({ image: '/i', partition: { number: 2, offsetBytes: 0 }, sources: ['/s/a', '/s/b'] }).join(
      ' ',
    ),
  ).toBe('cptofs -p -P 2 -t ext4 -i /i /s/a /s/b /');
  expect(mountBootFilesystemArgs('/dev/vda1', 'ESP', 'abcd1234').join(' ')).toBe(
    'mkfs.vfat -n ESP -i abcd1234 /dev/vda1',
  );
  expect(stageContentsArgs('/a', '/b', '755').join(' ')).toBe(
    'rsync --archive --hard-links --sparse --no-owner --no-group --chmod=F755,D755 -- /a /b',
  );
  expect(tuneFilesystemArgs('./d?offset=1').join(' ')).toBe('tune2fs -T now -c 0 -i 0 ./d?offset=1');
  expect(copyClosureArgs('/r', ['/nix/store/x'], '/s')).toContain('local?root=/s');
});

test('store URIs are escaped', () => {
  expect(storeUri('/a b/c&d?e')).toBe('local?root=/a%20b/c%26d%3Fe');
  // A link of every Linux.
  expect(storeUri('/proc/self/root/a b')).toBe('local?root=/a%20b');
});

test('nixosEnter passes the caller’s arguments only as positional parameters', () => {
  const argv = nixosEnterArgs('/mnt', ['echo', '$(id)'], false);
  expect(argv.slice(-5)).toEqual(['/mnt', '/nix/var/nix/profiles/system', 'no', 'echo', '$(id)']);
  expect(argv.filter((argument) => argument.includes('$(id)'))).toHaveLength(1);
});

test('file names are those of make-disk-image', () => {
  expect(
    (['raw', 'qcow2', 'qcow2-compressed', 'vdi', 'vpc'] as const).map((format) => imageFileName('nixos', format)),
  ).toEqual(['nixos.img', 'nixos.qcow2', 'nixos.qcow2', 'nixos.vdi', 'nixos.vhd']);
});
