import { z } from 'zod';
import { IMAGE_FORMATS } from '../../lib/formats/image-formats.ts';
import type { OptionIssue } from '../../lib/run/errors.ts';
import { sectorSize } from '../../lib/spec/fields.ts';
import type { MachineSpec } from './machine-spec.ts';

const bytes = z.int().min(0);
const milliseconds = z
  .number()
  .positive()
  .max(2 ** 31 - 1);
const path = z.string().min(1, 'must be the path of a file');

/** A file name of at most 255 bytes. @see systemd.system-credentials(7) */
const credentialName = z.string().regex(/^[^/\0=:]{1,255}$/, 'must be a name without "/", ":" and "="');

/** The options of a machine. Parsed strictly, so that unknown options are errors. */
export const machineSpecSchema = z.object({
  image: path,
  format: z.enum(IMAGE_FORMATS).exclude(['qcow2-compressed']).optional(),
  architecture: z.enum(['x86_64', 'aarch64']).optional(),
  firmware: z.enum(['bios', 'efi', 'direct']),
  kernel: z.strictObject({ kernel: path, initrd: path.optional(), commandLine: z.string() }).optional(),
  diskInterface: z.enum(['virtio', 'ahci', 'nvme']).optional(),
  diskBytes: bytes.optional(),
  overlay: path.optional(),
  sectorBytes: sectorSize.optional(),
  memoryMiB: z.int().min(64, 'must be a whole number of at least 64').optional(),
  cpus: z.int().min(1).max(255).optional(),
  accelerator: z.enum(['kvm', 'tcg']).optional(),
  machine: z.enum(['q35', 'microvm', 'virt']).optional(),
  efiVariables: path.optional(),
  secureBoot: z
    .union([z.boolean(), z.literal('setup-mode'), z.strictObject({ enroll: z.array(path).min(1) })], {
      error: 'must be true, false, "setup-mode" or { enroll: [certificate, …] }',
    })
    .optional(),
  tpm: z
    .union([z.boolean(), z.strictObject({ stateDirectory: path })], {
      error: 'must be true, false or { stateDirectory }',
    })
    .optional(),
  forwardPorts: z
    .array(z.strictObject({ hostPort: z.int().min(1).max(65_535), guestPort: z.int().min(1).max(65_535) }))
    .optional(),
  kernelParameters: z.string().optional(),
  commandTimeoutMs: milliseconds.optional(),
  name: z.string().optional(),
  logFile: path.optional(),
  credentials: z.record(credentialName, z.string()).optional(),
  allowReboots: z.int().min(0).max(1000).optional(),
  passphrase: z
    .string()
    .regex(/^[^\n\r]*$/, 'must be one line')
    .optional(),
  answers: z
    .array(
      z.strictObject({
        pattern: z.union([z.string().min(1), z.instanceof(RegExp)]),
        text: z.string().regex(/^[^\n\r]*$/, 'must be one line'),
      }),
    )
    .optional(),
});

/** Finds options that contradict each other. */
export function machineRules(spec: Partial<MachineSpec>): OptionIssue[] {
  const issues: OptionIssue[] = [];
  const wrong = (where: string, message: string): void => void issues.push({ path: where, message });
  const { architecture = 'x86_64', firmware } = spec;
  if (architecture !== 'x86_64') {
    const contradicts = (where: string, message: string): void =>
      wrong(where, `contradicts architecture "${architecture}": ${message}`);
    if (firmware === 'bios') contradicts('firmware', 'only x86-64 has a BIOS');
    if (spec.accelerator === 'kvm') contradicts('accelerator', 'KVM cannot run it on this host');
    if (spec.diskInterface === 'ahci') contradicts('diskInterface', 'the virt machine has no AHCI controller');
  }
  if (firmware === 'direct' && spec.kernel === undefined) wrong('kernel', 'is required for firmware "direct"');
  if (firmware !== undefined && firmware !== 'direct' && spec.kernel !== undefined)
    wrong('kernel', `contradicts firmware "${firmware}": only "direct" starts a given kernel`);
  if (firmware !== undefined && firmware !== 'efi' && spec.efiVariables !== undefined)
    wrong('efiVariables', `contradicts firmware "${firmware}": only "efi" has EFI variables`);
  const { secureBoot } = spec;
  if (secureBoot !== undefined && secureBoot !== false) {
    if (firmware !== undefined && firmware !== 'efi')
      wrong('secureBoot', `contradicts firmware "${firmware}": only "efi" has Secure Boot`);
    if (secureBoot !== true && spec.efiVariables !== undefined)
      wrong('secureBoot', 'contradicts efiVariables: the store has its own keys; say true');
  }
  if (spec.overlay !== undefined && spec.diskBytes !== undefined)
    wrong('diskBytes', 'contradicts overlay: a disk whose changes are kept is as large as its image');
  if (spec.sectorBytes === 4096 && firmware === 'bios')
    wrong('sectorBytes', 'contradicts firmware "bios": a BIOS reads sectors of 512 bytes');
  if (spec.machine === 'microvm' && spec.tpm !== undefined && spec.tpm !== false)
    wrong('tpm', 'contradicts machine "microvm": it has no place for one');
  if (spec.machine === 'microvm' && spec.credentials !== undefined)
    wrong('credentials', 'contradicts machine "microvm": it has no SMBIOS');
  return issues;
}
