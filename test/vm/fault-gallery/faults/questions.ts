import { ASKING, PASSPHRASE, stage1 } from '../bases/luks.ts';
import type { BrokenImage } from '../broken-image.ts';
import { changeInittab, inStage2 } from '../changes.ts';
import { withFiles } from '../cpio.ts';
import type { Fault } from '../fault.ts';
import { INITRD } from '../parts.ts';

/** The offset of the first key slot's material in LUKS2, after its two headers. @see LUKS2 On-Disk Format Specification */
const KEY_SLOT = { offsetBytes: 0x8000, sizeBytes: 258_048 };

/** Changes how the initrd opens the root. */
const opening =
  (open: string) =>
  async (image: BrokenImage): Promise<void> => {
    const init = await stage1(open);
    await image.changeOnEsp(INITRD, (initrd) => withFiles(initrd, [init]));
  };

/** Questions on the console that an unattended boot cannot answer. */
export const QUESTIONS: readonly Fault[] = [
  {
    fault: 'LUKS passphrase not given',
    slow: true,
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'asks-for-passphrase',
      cause: /Enter passphrase for \/dev\/vda3/,
    },
    breakIt: async () => {},
  },
  {
    fault: 'LUKS passphrase not given (systemd’s wording)',
    slow: true,
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'asks-for-passphrase',
      cause: /Please enter passphrase for disk root/,
    },
    breakIt: opening(ASKING.systemd),
  },
  {
    fault: 'LUKS passphrase is wrong',
    slow: true,
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'luks-passphrase-refused',
      cause: /answered but asks again/,
    },
    machine: { passphrase: 'wrong horse' },
    breakIt: async () => {},
  },
  {
    fault: 'LUKS key slot overwritten',
    slow: true,
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'luks-passphrase-refused',
      cause: /answered but asks again/,
    },
    machine: { passphrase: PASSPHRASE },
    breakIt: (image) =>
      image.overwrite(image.disk.root.offsetBytes + KEY_SLOT.offsetBytes, Buffer.alloc(KEY_SLOT.sizeBytes)),
  },
  {
    fault: 'both LUKS headers overwritten',
    slow: true,
    ...{
      base: 'luks',
      firmware: 'bios',
      stage: 'stage 1',
      name: 'root-device-missing',
      cause: /not a valid LUKS device|\/dev\/mapper\/root/,
    },
    machine: { passphrase: PASSPHRASE },
    breakIt: async (image) => {
      await opening('cryptsetup open --disable-locks "$luks" root')(image);
      await image.overwrite(image.disk.root.offsetBytes, Buffer.alloc(KEY_SLOT.offsetBytes));
    },
  },
  {
    fault: 'stage 2 asks an unknown question',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 2',
      name: 'asks-a-question',
      cause: /Which of the two disks holds the data\?/,
    },
    breakIt: (image) => inStage2(image, `printf 'Which of the two disks holds the data? '; read -r answer`),
  },
  {
    fault: 'stage 2 waits for any key',
    ...{
      base: 'hybrid',
      firmware: 'bios',
      stage: 'stage 2',
      name: 'asks-a-question',
      cause: /Press any key to continue/,
    },
    breakIt: (image) => inStage2(image, `echo 'Press any key to continue...'; read -r -n 1 answer`),
  },
  {
    fault: 'the login asks for a verification code',
    ...{ base: 'hybrid', firmware: 'bios', stage: 'login', name: 'asks-for-code', cause: /Verification code/ },
    breakIt: async (image) => {
      const login = `#!/bin/sh\nprintf 'Verification code: '\nread -r code\nexec /bin/login "$@"\n`;
      await image.addToRoot(`${await image.linkOfSystem('etc')}/code`, login, '0100555');
      await changeInittab(image, (table) => table.replace('/sbin/getty', '/sbin/getty -l /etc/static/code'));
    },
  },
];
