import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { efiGuidBytes } from '../formats/guid.ts';
import { requireFile, requireReplaceable } from '../host-files/given-paths.ts';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { guid, path } from '../spec/fields.ts';
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
 *  nothing. */
export const writeEfiVariables: Step<WriteEfiVariablesOptions, void> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: [],
  where: 'host',
  async prepare({ template, target }) {
    await requireFile(STEP, template, 'template');
    await requireReplaceable(STEP, target, 'target');
  },
  detail: ({ target }) => target,
  async run(_step, { template, target, bootEntries }) {
    const store = await readFile(template);
    const at = firstVariable(store, template);
    const variables = [
      ...bootEntries.map((entry, index) =>
        variable(`Boot${index.toString(16).toUpperCase().padStart(4, '0')}`, loadOption(entry)),
      ),
      ...(bootEntries.length === 0
        ? []
        : [variable('BootOrder', Buffer.from(Uint16Array.from(bootEntries.keys()).buffer))]),
    ];
    const bytes = Buffer.concat(variables);
    if (!store.subarray(at, at + bytes.length).every((byte) => byte === 0xff))
      throw new UnexpectedStateError(STEP, `${template} is not empty`, { expected: 'a store without variables' });
    bytes.copy(store, at);
    await writeFile(target, store);
  },
});

/** The GUIDs of EFI_SYSTEM_NV_DATA_FV, EFI_AUTHENTICATED_VARIABLE and EFI_GLOBAL_VARIABLE, in the file's byte order. */
const VOLUME_GUID = '8d2bf1ff96768b4ca9852747075b4f50';
const STORE_GUID = '782cf3aa7b949a43a1802e144ec37792';
const GLOBAL_GUID = '61dfe48bca93d211aa0d00e098032b8c';
const STORE_HEADER_BYTES = 28;

function firstVariable(store: Buffer, name: string): number {
  const headerBytes = store.length > 0x100 ? store.readUInt16LE(0x30) : 0;
  const isVolume = store.toString('hex', 16, 32) === VOLUME_GUID && store.toString('latin1', 0x28, 0x2c) === '_FVH';
  if (!isVolume || store.toString('hex', headerBytes, headerBytes + 16) !== STORE_GUID)
    throw new UnexpectedStateError(STEP, `${name} is not a store of EFI variables`, {
      expected: 'a firmware volume with a store of authenticated variables, such as OVMF_VARS.fd',
    });
  return headerBytes + STORE_HEADER_BYTES;
}

/** EFI_VARIABLE_NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS. */
const ATTRIBUTES = 7;
const START = 0x55aa;
const ADDED = 0x3f;

/** Encodes a record of the store, padded to a multiple of four bytes. */
function variable(name: string, data: Buffer): Buffer {
  const text = Buffer.from(`${name}\0`, 'utf16le');
  const header = Buffer.alloc(60);
  header.writeUInt16LE(START, 0);
  header.writeUInt8(ADDED, 2);
  header.writeUInt32LE(ATTRIBUTES, 4);
  // The counter, timestamp and key index before these are only for authenticated variables.
  header.writeUInt32LE(text.length, 36);
  header.writeUInt32LE(data.length, 40);
  Buffer.from(GLOBAL_GUID, 'hex').copy(header, 44);
  const record = Buffer.concat([header, text, data]);
  return Buffer.concat([record, Buffer.alloc((4 - (record.length % 4)) % 4, 0xff)]);
}

/** LOAD_OPTION_ACTIVE. */
const ACTIVE = 1;

function loadOption({ label, loader, partition }: z.output<typeof schema>['bootEntries'][number]): Buffer {
  const drive = Buffer.alloc(42);
  // Type: media device path; subtype: hard drive.
  drive.writeUInt8(4, 0);
  drive.writeUInt8(1, 1);
  drive.writeUInt16LE(drive.length, 2);
  drive.writeUInt32LE(partition.number, 4);
  drive.writeBigUInt64LE(BigInt(partition.offsetBytes / SECTOR_BYTES), 8);
  drive.writeBigUInt64LE(BigInt(partition.sizeBytes / SECTOR_BYTES), 16);
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
