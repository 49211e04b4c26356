import { expect, test } from 'vitest';
import { missingDevice } from '../../../../harness/verify/encryption.ts';
import type { InspectedPartition } from '../../../../lib/inspect/inspected-partition.ts';

const [OWN, OTHER] = ['0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90', 'ffffffff-6f5a-4e0e-9f43-2d7a6b1e8c90'];

const partitions = [
  {
    name: 'primary',
    partitionUuid: 'f222513b-ded1-49fa-b591-20ce86a2fe7f',
    encryption: { uuid: OWN, label: 'cryptroot' },
  },
  {
    name: 'ESP',
    partitionUuid: '1c06f03b-704e-4657-b9cd-681a087a2fdc',
    filesystem: { uuid: '1C06-F03B', label: 'ESP' },
  },
] as unknown as InspectedPartition[];

const missing = (...lines: string[]): string | undefined => missingDevice(lines, { partitions });

// As the programs print it: sources, and reports of users (disko 386, yuki 19, systemd 29153).
test.each([
  [
    'luksroot.nix',
    `Waiting 10 seconds for device /dev/disk/by-uuid/${OTHER} to appear.......... - failure`,
    'uuid',
    OTHER,
  ],
  ['luksroot.nix', `/dev/disk/by-uuid/${OTHER} is unavailable`, 'uuid', OTHER],
  [
    'luksroot.nix',
    'waiting 10 seconds for device /dev/disk/by-partlabel/luks to appear ......... - failure',
    'partlabel',
    'luks',
  ],
  ['luksroot.nix', `UUID=${OTHER} is unavailable`, 'uuid', OTHER],
  [
    'systemd',
    `[ TIME ] Timed out waiting for device dev-disk-by\\x2duuid-${OTHER.replaceAll('-', '\\x2d')}.device - /dev/disk/by-uuid/x.`,
    'uuid',
    OTHER,
  ],
  ['systemd', '[ TIME ] Timed out waiting for device /dev/disk/by-label/luksroot.', 'label', 'luksroot'],
  [
    'initramfs-tools',
    `ALERT!  encrypted source device UUID=${OTHER} does not exist, can't unlock vda2_crypt.`,
    'uuid',
    OTHER,
  ],
  ['dracut', `Warning: /dev/disk/by-uuid/${OTHER} does not exist`, 'uuid', OTHER],
  ['dracut', `dracut-initqueue[312]: Warning: crypto LUKS UUID ${OTHER} not found`, 'uuid', OTHER],
])('%s: %s', (_, line, kind, value) => {
  expect(missing('other words', line)).toBe(`/dev/disk/by-${kind}/${value}`);
});

test.each([
  [`Waiting 10 seconds for device /dev/disk/by-uuid/${OWN} to appear.......... - failure`],
  ['[ TIME ] Timed out waiting for device /dev/disk/by-label/cryptroot.'],
  ['/dev/disk/by-partlabel/primary is unavailable'],
  ['Timed out waiting for device dev-disk-by\\x2duuid-1C06\\x2dF03B.device'],
  // The device appeared, or none is meant.
  [`Waiting 10 seconds for device /dev/disk/by-uuid/${OTHER} to appear... - success`],
  [`Expecting device dev-disk-by\\x2duuid-${OTHER}.device...`],
  [`mount: /dev/disk/by-uuid/${OTHER} mounted on /mnt`],
  ['stage 2 init script not found'],
  ['Timed out waiting for device /dev/mapper/cryptroot'],
])('nothing of the image is missing: %s', (line) => {
  expect(missing(line)).toBeUndefined();
});
