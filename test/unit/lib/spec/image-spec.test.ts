import { expect, test } from 'vitest';
import { InvalidOptionsError } from '../../../../lib/run/errors.ts';
import { parseImageSpec } from '../../../../lib/spec/image-spec.ts';
import { MIB } from '../../../../lib/units.ts';

const toplevel = '/nix/store/00000000000000000000000000000000-nixos-system';

function problems(spec: unknown): string[] {
  try {
    parseImageSpec(spec);
  } catch (error) {
    if (error instanceof InvalidOptionsError) return error.issues.map(({ path, message }) => `${path}: ${message}`);
    throw error;
  }
  return [];
}

test('the defaults are those of make-disk-image', () => {
  expect(parseImageSpec({ toplevel })).toMatchObject({
    diskSize: 'auto',
    additionalSpace: 512 * MIB,
    bootSize: 256 * MIB,
    contents: [],
    partitionTableType: 'legacy',
    installBootLoader: true,
    fsType: 'ext4',
    label: 'nixos',
    format: 'raw',
    baseName: 'nixos',
    memSize: 1024,
    deterministic: true,
    rootGPUID: 'F222513B-DED1-49FA-B591-20CE86A2FE7F',
    rootFSUID: 'F222513B-DED1-49FA-B591-20CE86A2FE7F',
  });
});

test.each<[string, Record<string, unknown>, RegExp]>([
  [
    'an unknown key',
    { partitonTableType: 'efi' },
    /partitonTableType: there is no such option; did you mean "partitionTableType"/,
  ],
  [
    'a user without a group',
    { contents: [{ source: '/a', target: '/b', user: 'root' }] },
    /contents\[0\]\.group: user and group must be given together/,
  ],
  [
    'a target that leaves the root',
    { contents: [{ source: '/a', target: '../b' }] },
    /contents\[0\]\.target: .* leaves the root/,
  ],
  ['an unknown root filesystem', { fsType: 'zfs' }, /fsType: Invalid option/],
  [
    'a label too long for the filesystem',
    { fsType: 'xfs', label: 'thirteen chars' },
    /label: is longer than the 12 bytes of xfs's label/,
  ],
  [
    'a reproducible image with random identifiers',
    { reproducible: true, deterministic: false },
    /reproducible: contradicts deterministic: false/,
  ],
  ...(['rootGPUID', 'rootFSUID', 'rootFSHashSeed'] as const).map((name): [string, Record<string, unknown>, RegExp] => [
    `${name} and random identifiers`,
    { [name]: '22222222-DED1-49FA-B591-20CE86A2FE7F', deterministic: false },
    new RegExp(`${name}: contradicts deterministic: false`),
  ]),
  ['a name that no file can have', { baseName: 'a'.repeat(253) }, /baseName: must not have more than 240 bytes/],
  ['a reproducible btrfs', { reproducible: true, fsType: 'btrfs' }, /reproducible: contradicts fsType "btrfs"/],
  [
    'a reproducible image filled by cptofs',
    { reproducible: true, populateRootWith: 'cptofs' },
    /reproducible: contradicts populateRootWith "cptofs"/,
  ],
  [
    'cptofs with a filesystem other than ext4',
    { fsType: 'xfs', populateRootWith: 'cptofs' },
    /populateRootWith: "cptofs" contradicts fsType "xfs"/,
  ],
  [
    'systemd-boot without EFI',
    { bootLoaderFrom: 'bootspec', bootLoader: 'systemd-boot', partitionTableType: 'legacy+gpt' },
    /bootLoader: "systemd-boot" needs EFI/,
  ],
  [
    'a loader that the system chooses itself',
    { bootLoader: 'grub' },
    /bootLoader: has no effect with bootLoaderFrom "switch-to-configuration"/,
  ],
  [
    'a loader that is not installed',
    { bootLoaderFrom: 'bootspec', installBootLoader: false, bootLoaderTimeout: 3 },
    /bootLoaderTimeout: contradicts installBootLoader: false/,
  ],
  [
    'a boot partition inside the first 8 MiB',
    { partitionTableType: 'efi', bootSize: '8M' },
    /bootSize: is the end of the boot partition: .* more than 8 MiB, found 8 MiB/,
  ],
  [
    'a boot partition past the disk',
    { partitionTableType: 'efi', bootSize: '1G', diskSize: 512 },
    /bootSize: .* beyond the end of a disk of 512 MiB/,
  ],
  ['a label of 17 bytes', { label: 'abcdefghijklmnopq' }, /label: is longer than the 16 bytes/],
  ['a label that is not ASCII', { label: 'nixös' }, /label: must be printable ASCII/],
  ['a malformed GUID', { rootGPUID: 'F222513B-DED1-49FA-B591' }, /rootGPUID: must be a GUID/],
  ['an invalid size', { additionalSpace: '12 apples' }, /additionalSpace: "12 apples" is not a size/],
  ['a base name that is a path', { baseName: '../x' }, /baseName: must be a file name/],
  [
    'an invalid mode',
    { contents: [{ source: '/a', target: '/b', mode: '999' }] },
    /contents\[0\]\.mode: must be a mode/,
  ],
  [
    'a user that is a shell command',
    { contents: [{ source: '/a', target: '/b', user: '$(id)', group: 'x' }] },
    /contents\[0\]\.user: must be a user or group name/,
  ],
  [
    'closureInfo with additionalPaths',
    { closureInfo: '/x', additionalPaths: ['/y'] },
    /closureInfo: contradicts additionalPaths/,
  ],
  ['sectors of 1024 bytes', { sectorSize: 1024 }, /sectorSize: /],
  ['large sectors for a BIOS', { sectorSize: 4096 }, /sectorSize: 4096 contradicts partitionTableType "legacy"/],
  [
    'large sectors in a format of small ones',
    { sectorSize: 4096, partitionTableType: 'efi', format: 'vhdx' },
    /sectorSize: 4096 contradicts format "vhdx"/,
  ],
  [
    'large sectors with f2fs',
    { sectorSize: 4096, partitionTableType: 'efi', fsType: 'f2fs' },
    /sectorSize: 4096 contradicts fsType "f2fs"/,
  ],
  ['a disk size in words', { diskSize: 'big' }, /diskSize: must be "auto", a number of MiB, or an IEC size/],
])('refuses %s', (_, options, message) => {
  expect(problems({ toplevel, ...options }).join('\n')).toMatch(message);
});

const PAIR = { key: 'db.key', certificate: 'db.pem' };
test.each<[string, Record<string, unknown>, RegExp]>([
  ['a layout without EFI', { secureBoot: PAIR }, /secureBoot: contradicts partitionTableType "legacy"/],
  ['GRUB', { secureBoot: PAIR, bootLoaderFrom: 'bootspec', bootLoader: 'grub' }, /contradicts bootLoader "grub"/],
  ['no boot loader', { secureBoot: PAIR, installBootLoader: false }, /contradicts installBootLoader: false/],
  ['lanzaboote', { secureBoot: { ...PAIR, way: 'lanzaboote' } }, /secureBoot\.way: .*boot\.lanzaboote\.pkiBundle/],
  ['keys for no store', { secureBoot: { ...PAIR, enroll: 'variables' } }, /secureBoot\.enroll: .*touchEFIVars/],
  ['a key in the store', { secureBoot: { ...PAIR, key: '/nix/store/x/k' } }, /secureBoot\.key: is in the Nix store/],
  [
    'a key in the store by another name',
    { secureBoot: { ...PAIR, key: '/run/../nix//store/x/k' } },
    /secureBoot\.key: is in the Nix store/,
  ],
  ['an unknown field', { secureBoot: { ...PAIR, cert: 'x' } }, /secureBoot\.cert: there is no such option/],
])('Secure Boot with %s is refused', (_, options, message) => {
  expect(problems({ toplevel, ...options }).join('\n')).toMatch(message);
});

test('all problems are reported at once, including contradictions', () => {
  const found = problems({
    label: 'é',
    colour: 'red',
    partitionTableType: 'hybrid',
    bootSize: '4M',
    fsType: 'zfs',
    contents: [{ source: '', target: '/b', user: 'a' }],
  });
  const paths = found.map((line) => line.split(':')[0]);
  expect(paths).toEqual(
    expect.arrayContaining(['toplevel', 'label', 'bootSize', 'fsType', 'contents[0].source', 'contents[0].group']),
  );
  expect(found.join('\n')).toMatch(/colour/);
});

test('bootSize has no effect on a layout without a boot partition', () => {
  expect(problems({ toplevel, partitionTableType: 'legacy', bootSize: '1M', diskSize: 100 })).toEqual([]);
});

test.each([
  [{ diskSize: '20G' }, { diskSize: 20_480 }],
  [{ diskSize: '1.5M' }, { diskSize: 2 }],
  [
    { diskSize: 300, memSize: '2G' },
    { diskSize: 300, memSize: 2048 },
  ],
  [{ diskSize: 'auto' }, { diskSize: 'auto' }],
])('MiB may be given as an IEC size: %j', (given, expected) => {
  expect(parseImageSpec({ toplevel: '/nix/store/x', ...given })).toMatchObject(expected);
});

test.each([
  // Users of make-disk-image would expect MiB, others bytes.
  [{ diskSize: '512' }, /diskSize: must be "auto", a number of MiB, or an IEC size/],
  [{ memSize: '128M' }, /memSize: must be at least 256 MiB/],
  [
    { memSize: '512' },
    /memSize: "512" is not a size; use an IEC size such as "20G", or a number of MiB without quotes/,
  ],
])('%j is refused', (given, message) => {
  expect(() => parseImageSpec({ toplevel: '/nix/store/x', ...given })).toThrow(message);
});
