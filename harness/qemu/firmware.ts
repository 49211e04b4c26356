import { readdir, readFile, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { findTool } from '../../lib/run/tools.ts';
import { FirmwareMissingError } from '../errors.ts';
import { ARCHITECTURES, type Architecture } from './architecture.ts';

/** The fields of a firmware descriptor that are used here. @see docs/interop/firmware.json in QEMU */
const descriptorSchema = z.object({
  description: z.string().default(''),
  'interface-types': z.array(z.string()),
  mapping: z.object({
    device: z.string(),
    mode: z.string().optional(),
    executable: z.object({ filename: z.string(), format: z.string() }).optional(),
    'nvram-template': z.object({ filename: z.string(), format: z.string() }).optional(),
  }),
  targets: z.array(z.object({ architecture: z.string(), machines: z.array(z.string()) })),
  features: z.array(z.string()).default([]),
});
type Descriptor = z.output<typeof descriptorSchema>;

/** UEFI firmware in two flash files: shared, read-only code, and variables of which each machine gets its own copy. */
export interface UefiFirmware {
  readonly description: string;
  readonly descriptor: string;
  readonly code: string;
  readonly codeFormat: string;
  readonly variablesTemplate: string;
  readonly variablesFormat: string;
  /** Whether it protects its variables by System Management Mode, which the machine must have then. */
  readonly requiresSmm: boolean;
}

/** Secure Boot that a machine's firmware must enforce: with the keys that its own store has ("enrolled"), or with those of a store that
 *  is brought along ("own"). */
export type WantedSecureBoot = 'enrolled' | 'own';

/** Features that firmware must have and must not have. Without Secure Boot, a loader that nobody signed must be started. Firmware
 *  without the feature "secure-boot" may hold keys and start everything. */
const FEATURES: Readonly<
  Record<WantedSecureBoot | 'none', { readonly needed: readonly string[]; readonly unwanted: readonly string[] }>
> = {
  none: { needed: [], unwanted: ['requires-smm', 'enrolled-keys', 'secure-boot'] },
  own: { needed: ['secure-boot'], unwanted: ['enrolled-keys'] },
  enrolled: { needed: ['secure-boot', 'enrolled-keys'], unwanted: [] },
};

/** The directories of descriptors in order of precedence for a file name: the user's, the host's, the distribution's, and the one
 *  beside the QEMU in PATH, which is how Nix installs it. */
async function firmwareDirectories(architecture: Architecture): Promise<string[]> {
  const qemu = await findTool(ARCHITECTURES[architecture].qemu);
  const ofQemu = qemu === undefined ? [] : [join(dirname(await realpath(qemu)), '..', 'share', 'qemu', 'firmware')];
  const config = configDirectory();
  return [
    ...(config === undefined ? [] : [join(config, 'qemu', 'firmware')]),
    '/etc/qemu/firmware',
    '/usr/local/share/qemu/firmware',
    '/usr/share/qemu/firmware',
    ...ofQemu,
  ];
}

/** The user's configuration directory, if there is one: an empty or relative setting counts as not set, and the user may have no
 *  entry in passwd. */
function configDirectory(): string | undefined {
  const { XDG_CONFIG_HOME: xdg = '' } = process.env;
  if (isAbsolute(xdg)) return xdg;
  try {
    const home = homedir();
    return isAbsolute(home) ? join(home, '.config') : undefined;
  } catch {
    return undefined;
  }
}

/** Finds UEFI firmware for q35 machines of x86-64, or virt machines of aarch64, through the descriptors: the first in their order
 *  that enforces Secure Boot as wanted, or that has nothing to do with it.
 *  @param options.secureBoot default: none.
 *  @throws {FirmwareMissingError} with the searched directories and the package to install. */
export async function findUefiFirmware({
  directories,
  architecture = 'x86_64',
  secureBoot,
}: {
  readonly directories?: readonly string[];
  readonly architecture?: Architecture;
  readonly secureBoot?: WantedSecureBoot | undefined;
} = {}): Promise<UefiFirmware> {
  const searched = directories ?? (await firmwareDirectories(architecture));
  const byName = new Map<string, string>();
  for (const directory of searched)
    for (const name of await readdir(directory).catch(() => []))
      if (name.endsWith('.json') && !byName.has(name)) byName.set(name, join(directory, name));
  const rejected: string[] = [];
  for (const name of [...byName.keys()].sort()) {
    const file = byName.get(name) ?? name;
    const chosen = chooseFirmware(file, await readFile(file, 'utf8').catch(() => ''), architecture, secureBoot);
    if (typeof chosen !== 'string') return chosen;
    rejected.push(`${name}: ${chosen}`);
  }
  throw new FirmwareMissingError(architecture, searched, rejected);
}

/** Returns the firmware of one descriptor, or why it cannot be used. */
export function chooseFirmware(
  file: string,
  text: string,
  architecture: Architecture = 'x86_64',
  secureBoot?: WantedSecureBoot,
): UefiFirmware | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return 'is not JSON';
  }
  const parsed = descriptorSchema.safeParse(json);
  if (!parsed.success) return `is not a firmware descriptor: ${parsed.error.issues[0]?.message}`;
  const descriptor: Descriptor = parsed.data;
  if (!descriptor['interface-types'].includes('uefi')) return 'is not UEFI';
  const { machine, firmwareMachine } = ARCHITECTURES[architecture];
  const forMachine = descriptor.targets.some(
    (target) =>
      target.architecture === architecture && target.machines.some((name) => name.startsWith(firmwareMachine)),
  );
  if (!forMachine) return `is not for ${architecture} ${machine} machines`;
  const { needed, unwanted } = FEATURES[secureBoot ?? 'none'];
  const lacking = needed.find((feature) => !descriptor.features.includes(feature));
  if (lacking !== undefined) return `has no ${lacking}`;
  const odd = descriptor.features.find((feature) => unwanted.includes(feature));
  if (odd !== undefined) return odd;
  const { device, executable, 'nvram-template': template } = descriptor.mapping;
  if (device !== 'flash' || executable === undefined || template === undefined)
    return 'is not flash firmware with a template for its variables';
  return {
    description: descriptor.description,
    descriptor: file,
    code: executable.filename,
    codeFormat: executable.format,
    variablesTemplate: template.filename,
    variablesFormat: template.format,
    requiresSmm: descriptor.features.includes('requires-smm'),
  };
}
