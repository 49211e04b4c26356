import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { LUKS_HEADER_BYTES } from '../../../../lib/formats/luks.ts';
import { run } from '../../../helpers/run.ts';
import { PASSPHRASE } from '../bases/luks.ts';
import type { BrokenImage } from '../broken-image.ts';
import type { Fault } from '../fault.ts';
import { INITRD } from '../parts.ts';

const FIRST_KEY_SLOT = 0x8000;

const COMMON = {
  base: 'luks-built',
  firmware: 'efi',
  stage: 'stage 1',
  machine: { passphrase: PASSPHRASE },
} as const;

/** Gives the header another UUID, with both copies and their checksums right. */
async function changeUuid(image: BrokenImage): Promise<void> {
  const { offsetBytes } = image.disk.root;
  const header = join(dirname(image.file), 'header');
  await writeFile(header, await image.read(offsetBytes, LUKS_HEADER_BYTES));
  const uuid = 'ffffffff-6f5a-4e0e-9f43-2d7a6b1e8c90';
  await run(['cryptsetup', '--disable-locks', '--batch-mode', 'luksUUID', '--uuid', uuid, header]);
  await run([
    ...['dd', `if=${header}`, `of=${image.file}`, 'bs=1M', `seek=${offsetBytes / 1024 ** 2}`],
    ...['conv=notrunc', 'status=none'],
  ]);
}

/** Renames a module in the initrd, so that modprobe does not find it. */
const withoutModule =
  (name: string) =>
  (initrd: Buffer): Buffer => {
    const plain = gunzipSync(initrd);
    const file = Buffer.from(`/${name}.ko\0`);
    const at = plain.indexOf(file);
    if (at === -1) throw new Error(`the initrd has no ${name}`);
    plain.write('x', at + 1);
    return gzipSync(plain);
  };

/** Faults of a root in LUKS2 that this library made. */
export const LUKS_FAULTS: readonly Fault[] = [
  {
    fault: 'another passphrase',
    ...COMMON,
    ...{ name: 'luks-passphrase-refused', cause: /opens no key slot of the LUKS header of partition 2/ },
    machine: { passphrase: 'another horse' },
    breakIt: async () => {},
  },
  {
    fault: 'all key slots overwritten',
    slow: true,
    ...COMMON,
    ...{ name: 'luks-passphrase-refused', cause: /the key slots are damaged/ },
    breakIt: (image) =>
      image.overwrite(image.disk.root.offsetBytes + FIRST_KEY_SLOT, Buffer.alloc(LUKS_HEADER_BYTES - FIRST_KEY_SLOT)),
  },
  {
    fault: 'the header has another UUID than the initrd looks for',
    ...COMMON,
    ...{
      name: 'luks-device-missing',
      cause: /waits for \S+0cb5c4d1-6f5a-4e0e-9f43-2d7a6b1e8c90; the header has the UUID ffffffff-6f5a/,
    },
    breakIt: changeUuid,
  },
  {
    fault: 'both copies of the header overwritten',
    ...COMMON,
    ...{ name: 'luks-header-damaged', cause: /header of partition 2 is damaged, and so is its second copy/ },
    breakIt: async (image) => {
      const { offsetBytes } = image.disk.root;
      // The magic numbers stay.
      for (const at of [0, 0x4000]) await image.overwrite(offsetBytes + at + 512, Buffer.alloc(0x3000, 0xff));
    },
  },
  {
    fault: 'dm-crypt missing in the initrd',
    ...COMMON,
    ...{ name: 'luks-not-opened', cause: /initrd cannot open the LUKS header of partition 2/ },
    breakIt: (image) => image.changeOnEsp(INITRD, withoutModule('dm-crypt')),
  },
];
