import { z } from 'zod';
import { parseNixXml } from '../formats/nix-xml.ts';
import type { OptionIssue } from '../run/errors.ts';
import type { BootInstaller } from './boot-installer.ts';
import { type CopiedFile, parseCopies } from './install-commands.ts';
import { readInStore } from './store.ts';
import type { ReadSettings } from './systemd-boot-settings.ts';

/** The file `…-grub-config.xml` that NixOS passes to its GRUB installer: `boot.loader.grub` and related options. The
 *  defaults here are for keys that older releases of NixOS do not write. An unset option is an empty string.
 *  @see nixos/modules/system/boot/loader/grub/grub.nix */
const schema = z.object({
  timeout: z.int().default(5),
  timeoutStyle: z.string().default('menu'),
  default: z.string().default('0'),
  entryOptions: z.string().default('--class nixos --unrestricted'),
  subEntryOptions: z.string().default('--class nixos'),
  configurationLimit: z.int().default(100),
  extraConfig: z.string().default(''),
  extraPerEntryConfig: z.string().default(''),
  extraEntries: z.string().default(''),
  extraEntriesBeforeNixOS: z.boolean().default(false),
  extraPrepareConfig: z.string().default(''),
  extraGrubInstallArgs: z.array(z.string()).default([]),
  users: z.record(z.string(), z.record(z.string(), z.string().nullable())).default({}),
  font: z.string().default(''),
  splashImage: z.string().default(''),
  splashMode: z.string().default('stretch'),
  backgroundColor: z.string().default(''),
  theme: z.string().default(''),
  gfxmodeEfi: z.string().default('auto'),
  gfxmodeBios: z.string().default('1024x768'),
  gfxpayloadEfi: z.string().default('keep'),
  gfxpayloadBios: z.string().default('text'),
  copyKernels: z.boolean().default(false),
  fsIdentifier: z.string().default('uuid'),
  devices: z.array(z.string()).default([]),
  grub: z.string().default(''),
  grubEfi: z.string().default(''),
  grubTargetEfi: z.string().default(''),
  efiSysMountPoint: z.string().default('/boot'),
  efiInstallAsRemovable: z.boolean().default(true),
  canTouchEfiVariables: z.boolean().default(false),
  bootloaderId: z.string().default('NixOS-boot'),
  bootPath: z.string().default('/boot'),
  storePath: z.string().default('/nix/store'),
  fullName: z.string().default(''),
  fullVersion: z.string().default(''),
});

interface GrubUser {
  readonly name: string;
  /** Whether the password is the output of grub-mkpasswd-pbkdf2, not plain text. */
  readonly isHashed: boolean;
  readonly password: string;
}

export interface GrubSettings extends Omit<z.output<typeof schema>, 'users' | 'timeout' | 'extraPrepareConfig'> {
  readonly timeout: number | 'none';
  readonly users: readonly GrubUser[];
  readonly distroName: string;
  /** Modules that extraGrubInstallArgs adds to the core image. */
  readonly modules: readonly string[];
  /** extraFiles. */
  readonly copies: readonly CopiedFile[];
  /** Whether these are a system's settings, not NixOS's defaults. */
  readonly isConfigured: boolean;
}

const presets = schema.parse({});

export const GRUB_DEFAULTS: GrubSettings = {
  ...presets,
  timeout: presets.timeout,
  users: [],
  distroName: 'NixOS',
  modules: [],
  copies: [],
  isConfigured: false,
};

/** Reads the settings of NixOS's GRUB installer from its script. @returns undefined when the script only has the same
 *  name. */
export async function readGrubSettings(
  store: string,
  { script }: BootInstaller,
): Promise<ReadSettings<GrubSettings> | undefined> {
  const lines = script.split('\n').map((line) => line.trim());
  const runs = lines
    .map((line) => /(\/nix\/store\/\S+) (\/nix\/store\/\S+-grub-config\.xml) "?\$@"?$/.exec(line))
    .filter((match) => match !== null);
  const [[, program = '', file] = []] = runs;
  if (file === undefined) return undefined;
  const parsed = schema.safeParse(parseNixXml((await readInStore(store, file)) ?? ''));
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
    return {
      settings: GRUB_DEFAULTS,
      refused: [{ path: 'boot.loader.grub', message: `cannot be read from ${file}: ${problems}` }],
    };
  }
  const { extraPrepareConfig, users, timeout, ...config } = parsed.data;

  const refused: OptionIssue[] = [];
  const refuse = (option: string, message: string): void => {
    refused.push({ path: `boot.loader.grub.${option}`, message });
  };
  if (runs.length > 1 || config.bootPath !== '/boot')
    refuse('mirroredBoots', `names ${runs.length > 1 ? 'several boot directories' : config.bootPath}; expected /boot`);
  if (config.storePath !== '/nix/store') refuse('storePath', `is ${config.storePath}; expected /nix/store`);
  if (/GRUB_ENABLE_CRYPTODISK=y/.test(script)) refuse('enableCryptodisk', 'requires encrypted partitions');
  const known = /^(#.*|set -e|export (PERL5LIB|GRUB_ENABLE_CRYPTODISK)=.*)?$|-grub-config\.xml "?\$@"?$/;
  const own = lines.find((line) => !known.test(line));
  if (own !== undefined) refuse('extraInstallCommands', `contains the system's own commands: ${own}`);
  const { copies, others } = parseCopies(extraPrepareConfig.replaceAll('@bootPath@', config.bootPath));
  if (others.length > 0) refuse('extraPrepareConfig', `contains the system's own commands: ${others[0]}`);
  const modules = config.extraGrubInstallArgs.flatMap((argument) => {
    const [, names] = /^--modules=(.*)$/.exec(argument) ?? [];
    if (names === undefined) refuse('extraGrubInstallArgs', `contains ${argument}; only --modules=… is supported`);
    return (names ?? '').split(/\s+/).filter((name) => name !== '');
  });
  const parsedUsers = Object.entries(users).flatMap(([name, one]): GrubUser[] => {
    for (const option of ['hashedPasswordFile', 'passwordFile'])
      if (typeof one[option] === 'string' && one[option] !== '')
        refuse(`users.${name}.${option}`, `names ${one[option]}, a file of the running machine`);
    const { hashedPassword, password, hashedPasswordFile, passwordFile } = one;
    if (hashedPassword) return [{ name, isHashed: true, password: hashedPassword }];
    if (password) return [{ name, isHashed: false, password }];
    // Without a password, anyone could act as this user.
    if (!hashedPasswordFile && !passwordFile) refuse(`users.${name}`, 'has no password');
    return [];
  });
  const perl = (await readInStore(store, program)) ?? '';
  return {
    settings: {
      ...config,
      timeout: timeout < 0 ? 'none' : timeout,
      users: parsedUsers,
      distroName: /"([^"$]+) - All configurations"/.exec(perl)?.[1] ?? GRUB_DEFAULTS.distroName,
      modules,
      copies,
      isConfigured: true,
    },
    refused,
  };
}

/** The GRUB platforms that the system is configured for, as written in the installer's state file: "no" for BIOS,
 *  "only" for EFI.
 *  @see nixos/modules/system/boot/loader/grub/install-grub.pl */
export function efiTarget({ grub, grubEfi }: GrubSettings): 'no' | 'only' | 'both' | '' {
  if (grub !== '') return grubEfi === '' ? 'no' : 'both';
  return grubEfi === '' ? '' : 'only';
}
