import type { OptionIssue } from '../run/errors.ts';
import type { BootInstaller } from './boot-installer.ts';
import { type CopiedFile, parseCopies } from './install-commands.ts';
import { readInStore } from './store.ts';

/** What NixOS's systemd-boot installer is configured to do: `boot.loader.systemd-boot` and what belongs to it, as it stands in the
 *  system's closure. @see nixos/modules/system/boot/loader/systemd-boot */
export interface SystemdBootSettings {
  readonly timeout: number | 'none';
  readonly editor: boolean;
  readonly consoleMode: string;
  readonly rebootForBitlocker: boolean;
  /** The newest so many generations get entries; 0: all. */
  readonly configurationLimit: number;
  /** How often an entry is tried before it counts as bad; undefined without boot counting. */
  readonly bootCountingTries: number | undefined;
  readonly distroName: string;
  readonly espMountPoint: string;
  readonly bootMountPoint: string;
  /** Entries are named by a hash of their text (since NixOS 26.05), or by generation and specialisation. */
  readonly entriesByHash: boolean;
  /** extraFiles, extraEntries and extraEfiDrivers, and the marks by which the next run finds them. */
  readonly copies: readonly CopiedFile[];
  /** Whether they are a system's own, or what NixOS presets. */
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
  /** Options of the system's that only its own installer can do. */
  readonly refused: readonly OptionIssue[];
}

/** @returns undefined when the script does not run NixOS's builder and only has the same name. */
export async function readSystemdBootSettings(
  store: string,
  { script }: BootInstaller,
): Promise<ReadSettings<SystemdBootSettings> | undefined> {
  const lines = script.split('\n').map((line) => line.trim());
  const isBuilder = (line: string): boolean => /^\/nix\/store\/\S*systemd-boot\S* "?\$@"?$/.test(line);
  const builder = lines.find(isBuilder)?.split(' ')[0];
  if (builder === undefined) return undefined;
  const text = (await readInStore(store, builder)) ?? '';
  // That of an old release has its settings elsewhere in its text.
  if (!/^TIMEOUT = /m.test(text))
    return {
      settings: SYSTEMD_BOOT_DEFAULTS,
      refused: [
        { path: 'boot.loader.systemd-boot', message: `is installed by ${builder}, whose settings cannot be read` },
      ],
    };
  const constant = (name: string): string | undefined =>
    new RegExp(`^${name} = (?:[a-z.]+\\()*(?:\\n\\s*)?"([^"\\n]*)"`, 'im').exec(text)?.[1];
  const refused: OptionIssue[] = [];
  const refuse = (option: string, message: string): void => {
    refused.push({ path: `boot.loader.systemd-boot.${option}`, message });
  };
  const own = lines.filter((line) => line !== '' && !line.startsWith('#') && !isBuilder(line));
  if (own.length > 0) refuse('extraInstallCommands', `are commands of the system's: ${own[0]}`);

  const copies: CopiedFile[] = [];
  for (const name of ['PREPARE_EXTRA_FILES', 'COPY_EXTRA_FILES']) {
    const file = constant(name);
    if (file === undefined || file === '') continue;
    const commands = await readInStore(store, file);
    if (commands === undefined) refuse('extraFiles', `are copied by ${file}, which cannot be read`);
    const parsed = parseCopies(commands ?? '');
    copies.push(...parsed.copies);
    if (parsed.others.length > 0) refuse('extraFiles', `are copied by what is not known: ${parsed.others[0]}`);
  }
  const uki = constant('UKI_CONFIG');
  const ukiConfig = uki === undefined ? '{}' : await readInStore(store, uki);
  if (ukiConfig === undefined) refuse('uki', `is in ${uki}, which cannot be read`);
  else if (/"enable":\s*true/.test(ukiConfig)) refuse('uki', 'asks for unified kernel images');

  const timeout = constant('TIMEOUT') ?? '';
  const { timeout: usual, ...defaults } = SYSTEMD_BOOT_DEFAULTS;
  return {
    settings: {
      ...defaults,
      // "menu-force" is what NixOS says for null.
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
