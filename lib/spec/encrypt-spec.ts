import { z } from 'zod';
import { guid, keyDerivation, LUKS_SECTOR_SIZES, luksLabel, secretFile } from './fields.ts';

/** `encrypt` of an image specification: the root in LUKS2. */
export const encryptSpec = z.strictObject({
  /** A file with the passphrase. One newline at its end is not part of it. */
  passphraseFile: secretFile,
  /** Files with further passphrases. */
  morePassphraseFiles: z.array(secretFile).max(30).optional(),
  /** A file to write a recovery key to. It must not exist. */
  recoveryKeyFile: secretFile.optional(),
  /** A file with the 64 bytes of the volume key; default: random. */
  volumeKeyFile: secretFile.optional(),
  /** The name that the system opens it as, in /dev/mapper: the attribute in `boot.initrd.luks.devices`. Default: the one in the system. */
  name: z
    .string()
    .regex(/^[\w#+.:=@-]{1,127}$/, 'must be letters, digits and #+-.:=@_, as in /dev/mapper')
    .optional(),
  /** The UUID of the LUKS header. Default: the one that the system looks for, else random. */
  uuid: guid.optional(),
  /** The label of the LUKS header. */
  label: luksLabel.optional(),
  keyDerivation: keyDerivation.optional(),
  /** The sector size of the opened device. Default: 4096 where that is possible, else 512. */
  sectorSize: z.literal(LUKS_SECTOR_SIZES).optional(),
  /** Also encrypt the free parts of the filesystem; the image is then not sparse. */
  encryptFreeSpace: z.boolean().optional(),
});

export type EncryptSpec = z.output<typeof encryptSpec>;
