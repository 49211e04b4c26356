import type { OptionIssue } from '../run/errors.ts';
import type { BootInstaller } from './boot-installer.ts';
import { type CopiedFile, parseCopies } from './install-commands.ts';
import { readInStore } from './store.ts';

/** Settings of NixOS's systemd-boot installer, read from the system's closure: `boot.loader.systemd-boot` and related
 *  options.
 *  @see nixos/modules/system/boot/loader/systemd-boot */
export interface SystemdBootSettings {
  readonly timeout: number | 'none';
  readonly editor: boolean;
  readonly consoleMode: string;
  readonly rebootForBitlocker: boolean;
  /** How many generations, newest first, get entries; 0 for all. */
  readonly configurationLimit: number;
  /** How often an entry is tried before it is marked bad; undefined without boot counting. */
  readonly bootCountingTries: number | undefined;
  readonly distroName: string;
  readonly espMountPoint: string;
  readonly bootMountPoint: string;
  /** Whether entries are named by a hash of their text (since NixOS 26.05), not by generation and specialisation. */
  readonly entriesByHash: boolean;
  /** extraFiles, extraEntries and extraEfiDrivers, and the marker files by which the installer's next run finds
   *  them. */
  readonly copies: readonly CopiedFile[];
  /** Whether these are a system's settings, not NixOS's defaults. */
  readonly isConfigured: boolean;
}

export const SYSTEMD_BOOT_DEFAULTS: SystemdBootSettings = {
  timeout: 5,
  editor: true,
  consoleMode: 'keep',
  rebootForBitlocker: false,
  configurationLimit: 0,
  bootCountingTries: undefined,
  distroName: 'NixOS',
  espMountPoint: '/boot',
  bootMountPoint: '/boot',
  entriesByHash: false,
  copies: [],
  isConfigured: false,
};

export interface ReadSettings<T> {
  readonly settings: T;
  /** Options that only the system's own installer supports. */
  readonly refused: readonly OptionIssue[];
}

/** Reads the settings of NixOS's systemd-boot installer from its script. @returns undefined when the script only has
 *  the same name. */
export async function readSystemdBootSettings(
  store: string,
  { script }: BootInstaller,
): Promise<ReadSettings<SystemdBootSettings> | undefined> {
  const lines = script.split('\n').map((line) => line.trim());
  const isBuilder = (line: string): boolean => /^\/nix\/store\/\S*systemd-boot\S* "?\$@"?$/.test(line);
  const builder = lines.find(isBuilder)?.split(' ')[0];
  if (builder === undefined) return undefined;
  const text = (await readInStore(store, builder)) ?? '';
  // Older releases of NixOS write the settings in another form.
  if (!/^TIMEOUT = /m.test(text))
    return {
      settings: SYSTEMD_BOOT_DEFAULTS,
      refused: [{ path: 'boot.loader.systemd-boot', message: `cannot be read from the installer ${builder}` }],
    };
  const constant = (name: string): string | undefined =>
    new RegExp(`^${name} = (?:[a-z.]+\\()*(?:\\n\\s*)?"([^"\\n]*)"`, 'im').exec(text)?.[1];
  const refused: OptionIssue[] = [];
  const refuse = (option: string, message: string): void => {
    refused.push({ path: `boot.loader.systemd-boot.${option}`, message });
  };
  const own = lines.filter((line) => line !== '' && !line.startsWith('#') && !isBuilder(line));
  if (own.length > 0) refuse('extraInstallCommands', `contains the system's own commands: ${own[0]}`);

  const copies: CopiedFile[] = [];
  for (const name of ['PREPARE_EXTRA_FILES', 'COPY_EXTRA_FILES']) {
    const file = constant(name);
    if (file === undefined || file === '') continue;
    const commands = await readInStore(store, file);
    if (commands === undefined) refuse('extraFiles', `cannot be read from ${file}`);
    const parsed = parseCopies(commands ?? '');
    copies.push(...parsed.copies);
    if (parsed.others.length > 0) refuse('extraFiles', `contains an unknown command: ${parsed.others[0]}`);
  }
  const uki = constant('UKI_CONFIG');
  const ukiConfig = uki === undefined ? '{}' : await readInStore(store, uki);
  if (ukiConfig === undefined) refuse('uki', `cannot be read from ${uki}`);
  else if (/"enable":\s*true/.test(ukiConfig)) refuse('uki', 'requires unified kernel images');

  const timeout = constant('TIMEOUT') ?? '';
  const { timeout: usual, ...defaults } = SYSTEMD_BOOT_DEFAULTS;
  return {
    settings: {
      ...defaults,
      // NixOS writes "menu-force" for null.
      timeout: /^\d+$/.test(timeout) ? Number(timeout) : timeout === '' ? usual : 'none',
      editor: constant('EDITOR') === '1',
      consoleMode: constant('CONSOLE_MODE') ?? defaults.consoleMode,
      rebootForBitlocker: (constant('REBOOT_FOR_BITLOCKER') ?? '') !== '',
      configurationLimit: Number(constant('CONFIGURATION_LIMIT') ?? 0),
      bootCountingTries: constant('BOOT_COUNTING') === 'True' ? Number(constant('BOOT_COUNTING_TRIES')) : undefined,
      distroName: constant('DISTRO_NAME') ?? defaults.distroName,
      espMountPoint: constant('EFI_SYS_MOUNT_POINT') ?? defaults.espMountPoint,
      bootMountPoint: constant('BOOT_MOUNT_POINT') ?? defaults.bootMountPoint,
      entriesByHash: text.includes('sha256(contents)'),
      copies,
      isConfigured: true,
    },
    refused,
  };
}
