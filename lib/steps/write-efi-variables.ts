import { z } from 'zod';
import { EFI_GLOBAL, type EfiVariable, NON_VOLATILE } from '../formats/efi-variables.ts';
import { efiGuidBytes } from '../formats/guid.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { readVariableStore, writeVariableStore } from '../host-files/variable-store.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { guid, path, sectorSize } from '../spec/fields.ts';
import { SECTOR_BYTES } from '../units.ts';

const STEP = 'writeEfiVariables';

const schema = z.object({
  /** An empty store of EFI variables from a firmware package: OVMF_VARS.fd. */
  template: path,
  target: path,
  /** The boot entries, in boot order. If there are none, the store stays empty. */
  bootEntries: z
    .array(
      z.object({
        label: z.string().min(1).max(100),
        /** The path from the partition's root: `\EFI\systemd\systemd-bootx64.efi`. */
        loader: z.string().regex(/^\\[^/]+$/, 'must be a path such as "\\EFI\\BOOT\\BOOTX64.EFI"'),
        /** The ESP, with its partition GUID. */
        partition: z.object({
          number: z.int().positive(),
          offsetBytes: z.int().min(0),
          sizeBytes: z.int().positive(),
          partitionUuid: guid,
          /** The size of the disk's sectors, which the entry counts; default 512. */
          sectorBytes: sectorSize.default(SECTOR_BYTES),
        }),
      }),
    )
    .readonly(),
});

const OLD_NAMES = { entries: 'bootEntries' } as const;

export type WriteEfiVariablesOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** Writes a store of EFI variables with boot entries (Boot0000 …, BootOrder), like efibootmgr(8) in a running machine.
 *  The same entries give the same bytes.
 *  @throws {UnexpectedStateError} when the template is not a store of variables, or is not empty.
 *  @see UEFI specification 3.1.3 (load options) and 10.3.5 (media device paths); edk2 VariableFormat.h. Runs:
 *  flock. */
export const writeEfiVariables: Step<WriteEfiVariablesOptions, void> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['flock'],
  where: 'host',
  async prepare({ template, target }) {
    await requireFile(STEP, template, 'template');
    await requireReplaceable(STEP, target, 'target');
  },
  detail: ({ target }) => target,
  async run(_step, { template, target, bootEntries }) {
    const store = await readVariableStore(STEP, template);
    if (store.variables.length > 0)
      throw new UnexpectedStateError(STEP, `${template} is not empty`, { expected: 'a store without variables' });
    const global = (name: string, data: Buffer): EfiVariable => ({
      ...{ name, data, vendor: EFI_GLOBAL, attributes: NON_VOLATILE },
    });
    const entries = bootEntries.map((entry, index) =>
      global(`Boot${index.toString(16).toUpperCase().padStart(4, '0')}`, loadOption(entry)),
    );
    const order = Buffer.from(Uint16Array.from(bootEntries.keys()).buffer);
    const added = entries.length === 0 ? [] : [...entries, global('BootOrder', order)];
    await writeVariableStore(STEP, store, added, target);
  },
});

/** LOAD_OPTION_ACTIVE. */
const ACTIVE = 1;

function loadOption({ label, loader, partition }: z.output<typeof schema>['bootEntries'][number]): Buffer {
  const drive = Buffer.alloc(42);
  // Type: media device path; subtype: hard drive.
  drive.writeUInt8(4, 0);
  drive.writeUInt8(1, 1);
  drive.writeUInt16LE(drive.length, 2);
  drive.writeUInt32LE(partition.number, 4);
  drive.writeBigUInt64LE(BigInt(partition.offsetBytes / partition.sectorBytes), 8);
  drive.writeBigUInt64LE(BigInt(partition.sizeBytes / partition.sectorBytes), 16);
  efiGuidBytes(partition.partitionUuid).copy(drive, 24);
  // Partition format: GPT; signature type: GUID.
  drive.writeUInt8(2, 40);
  drive.writeUInt8(2, 41);
  const file = Buffer.from(`${loader}\0`, 'utf16le');
  const fileHeader = Buffer.from([4, 4, 0, 0]);
  fileHeader.writeUInt16LE(file.length + 4, 2);
  const path = Buffer.concat([drive, fileHeader, file, Buffer.from([0x7f, 0xff, 4, 0])]);
  const header = Buffer.alloc(6);
  header.writeUInt32LE(ACTIVE, 0);
  header.writeUInt16LE(path.length, 4);
  return Buffer.concat([header, Buffer.from(`${label}\0`, 'utf16le'), path]);
}
