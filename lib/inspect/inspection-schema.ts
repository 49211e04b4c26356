import { z } from 'zod';
import { IMAGE_FORMATS } from '../formats/image-formats.ts';
import { resultJsonSchema, resultSchema } from '../run/result-schema.ts';
import { sectorSize } from '../spec/fields.ts';
import type { BiosBoot } from './bios-boot.ts';
import type { EfiBoot } from './efi-boot.ts';
import type { FoundEncryption } from './encryption.ts';
import type { FoundFilesystem } from './filesystems.ts';
import type { Finding } from './finding.ts';
import type { Generation } from './generations.ts';
import type { ImageInspection } from './inspect-image.ts';
import type { InspectedPartition } from './inspected-partition.ts';
import type { LoaderEntry } from './loader-entry.ts';

const count = z.int().min(0);
const firmware = z.enum(['bios', 'efi']);
const efiArchitecture = z.enum(['x64', 'aa64']);

const finding = resultSchema<Finding>()(
  z
    .object({
      code: z.string().describe('A word for programs, such as "no-boot-signature".'),
      name: z.string().describe('The old name of "code".'),
      severity: z
        .enum(['fatal', 'error', 'warning'])
        .describe('fatal: what it concerns cannot work; error: it works, and is wrong; warning: worth knowing.'),
      firmware: firmware.optional().describe('The firmware that it concerns; missing for both.'),
      stage: z
        .enum(['firmware', 'loader', 'kernel', 'stage 1'])
        .describe('The stage of a boot that it stops or disturbs.'),
      message: z.string(),
    })
    .meta({ id: 'finding' }),
);
const findings = z.array(finding);

const filesystem = resultSchema<FoundFilesystem>()(
  z
    .object({
      type: z.string().describe('As blkid names it.'),
      label: z.string(),
      uuid: z.string(),
      sizeBytes: count.optional(),
      freeBytes: count.optional(),
      findings,
    })
    .meta({ id: 'filesystem' }),
);

const encryption = resultSchema<FoundEncryption>()(
  z
    .object({
      uuid: z.string(),
      label: z.string(),
      cipher: z.string().describe('As cryptsetup names it: "aes-xts-plain64".'),
      sectorBytes: count,
      dataOffsetBytes: count.describe('Where the encrypted data begin in the partition.'),
      dataBytes: count.optional().describe('Their size; missing where they take the rest of the partition.'),
      keySlots: z.array(
        z.object({
          id: count,
          keyDerivation: z.string(),
          memoryBytes: count.optional().describe('The memory that unlocking needs.'),
          iterations: count,
        }),
      ),
      tokens: z.array(z.string()).describe('Their types, such as "systemd-tpm2".'),
      isSupported: z.boolean().describe('Whether --passphrase-file can look inside.'),
      isSecondCopy: z.boolean().describe('Whether only the second copy of the header is intact.'),
      filesystem: filesystem.optional().describe('What is encrypted, with --passphrase-file.'),
    })
    .meta({ id: 'encryption' }),
);

const partition = resultSchema<InspectedPartition>()(
  z.object({
    number: count,
    startSectors: count.describe('In sectors of "sectorBytes".'),
    sizeSectors: count.describe('In sectors of "sectorBytes".'),
    offsetBytes: count,
    sizeBytes: count,
    type: z.string().describe('GPT: a GUID in lower case; msdos: two hexadecimal digits.'),
    typeName: z.string().optional(),
    purpose: z.enum(['esp', 'xbootldr', 'bios-grub', 'linux', 'swap', 'lvm', 'extended']).optional(),
    name: z.string(),
    partitionUuid: z.string().describe("The kernel's PARTUUID, in lower case."),
    attributes: z.array(z.string()).describe('GPT: the numbers of the attribute bits that are set; msdos: "bootable".'),
    filesystem: filesystem.optional(),
    encryption: encryption.optional().describe('The LUKS2 header, where the partition is encrypted.'),
  }),
);

const bios = resultSchema<BiosBoot>()(z.object({ loader: z.enum(['grub', 'other', 'none']), findings }));

const loaderEntry = resultSchema<LoaderEntry>()(
  z
    .object({
      loader: z.enum(['systemd-boot', 'grub', 'firmware']),
      file: z.string().describe("From the partition's root."),
      partition: count,
      title: z.string(),
      version: z.string(),
      linux: z.string(),
      initrd: z.array(z.string()),
      options: z.string(),
      isDefault: z.boolean(),
    })
    .meta({ id: 'loader-entry' }),
);

const efi = resultSchema<EfiBoot>()(
  z.object({
    architecture: efiArchitecture.describe('Of the firmware that it was looked at for.'),
    architectures: z.array(z.string()).describe('Those whose firmware finds a loader at the removable path.'),
    loaders: z.array(z.string()),
    started: z.string().optional().describe('What firmware without boot entries starts.'),
    programs: z.array(
      z.object({
        file: z.string(),
        partition: count,
        bytes: count,
        architecture: z.string(),
        signed: z.boolean(),
        complete: z.boolean().describe('Whether it is as long as its header says.'),
        kind: z.enum(['systemd-boot', 'grub', 'uki', 'kernel', 'shim', 'other']),
        signatures: z.array(
          z.object({
            signer: z.string().describe('The subject of the certificate that signed.'),
            issuer: z.string(),
            fingerprint: z.string().describe('SHA-256 of that certificate.'),
            hashMatches: z.boolean().describe('Whether the program is the one that was signed.'),
            isAuthentic: z.boolean().describe('Whether the signature was made with the key of that certificate.'),
          }),
        ),
        trust: z
          .enum(['trusted', 'unsigned', 'changed', 'untrusted', 'revoked'])
          .optional()
          .describe('What firmware with the keys of --efi-vars makes of it under Secure Boot.'),
      }),
    ),
    bootEntries: z.array(loaderEntry),
    entries: z.array(loaderEntry).describe('The old name of "bootEntries".'),
    serialConsole: z.boolean().optional(),
    findings,
  }),
);

const generation = resultSchema<Generation>()(
  z.object({
    number: z.int(),
    toplevel: z.string(),
    system: z.string().describe('The old name of "toplevel".'),
    isDefault: z.boolean(),
  }),
);

const inspectionSchema = resultSchema<ImageInspection>()(
  z.object({
    image: z.string().describe('Absolute path.'),
    format: z.enum(IMAGE_FORMATS).exclude(['qcow2-compressed']),
    virtualBytes: count,
    table: z.enum(['gpt', 'msdos', 'none']),
    sectorBytes: sectorSize,
    diskId: z.string().optional(),
    partitions: z.array(partition),
    filesystem: filesystem.optional().describe('Of the whole disk, where there is no partition table.'),
    encryption: encryption
      .optional()
      .describe('The LUKS2 header of the whole disk, where there is no partition table.'),
    firmware: z.array(firmware).describe('The firmware that it is made for, whether it boots or not.'),
    bios,
    efi,
    serialConsole: z
      .boolean()
      .optional()
      .describe('Whether the kernel that is started has a serial console in its parameters.'),
    generations: z.array(generation),
    storePaths: count.optional().describe('How many paths the Nix store has.'),
    findings: findings.describe(
      'What is wrong, as far as it is seen without booting, for the firmware it is made for.',
    ),
  }),
);

/** Of what `inspect --json` prints. */
export function inspectionJsonSchema(): Record<string, unknown> {
  return resultJsonSchema('the content of a disk image', inspectionSchema);
}
