import { execa } from 'execa';
import { storePath } from './fake-system.ts';

/** Boot loader installers like those in a NixOS system's closure: files with the same structure and different contents.
 *  @see nixos/modules/system/boot/loader in nixpkgs */

const TOPLEVEL = storePath('nixos-system-fake');
const COREUTILS = storePath('coreutils-9.5');
const BASH = storePath('bash-5.2');

/** Converts values with builtins.toXML. Runs: nix-instantiate. */
async function toXml(value: unknown): Promise<string> {
  const expression = `builtins.fromJSON ${JSON.stringify(JSON.stringify(value)).replaceAll('$', '\\$')}`;
  const env = { NIX_CONFIG: 'build-users-group =\n', NIX_STATE_DIR: '/tmp', NIX_REMOTE: 'dummy://' };
  const { stdout } = await execa('nix-instantiate', ['--eval', '--strict', '--xml', '-E', expression], { env });
  return `${stdout}\n`;
}

/** The contents of `…-grub-config.xml` for a system that sets only a device. */
export const GRUB_CONFIG = {
  efiSysMountPoint: '/boot',
  devices: ['/dev/sda'],
  canTouchEfiVariables: false,
  extraConfig: '',
  extraPerEntryConfig: '',
  extraEntries: '',
  forceInstall: false,
  useOSProber: false,
  extraGrubInstallArgs: [] as string[],
  extraEntriesBeforeNixOS: false,
  extraPrepareConfig: '',
  configurationLimit: 100,
  copyKernels: false,
  default: '0',
  fsIdentifier: 'uuid',
  efiSupport: false,
  efiInstallAsRemovable: false,
  gfxmodeEfi: 'auto',
  gfxmodeBios: '1024x768',
  gfxpayloadEfi: 'keep',
  gfxpayloadBios: 'text',
  users: {} as Record<string, object>,
  timeoutStyle: 'menu',
  backgroundColor: '',
  bootPath: '/boot',
  bootloaderId: 'NixOS-boot',
  entryOptions: '--class nixos --unrestricted',
  font: '',
  fullName: 'grub',
  fullVersion: '2.12',
  grub: storePath('grub-2.12'),
  grubEfi: '',
  grubTarget: 'i386-pc',
  grubTargetEfi: '',
  path: `${COREUTILS}/bin`,
  shell: `${BASH}/bin/bash`,
  splashImage: '',
  splashMode: 'stretch',
  storePath: '/nix/store',
  subEntryOptions: '--class nixos',
  theme: '',
  timeout: 5,
};

const EFI = {
  grubEfi: storePath('grub-2.12'),
  grubTargetEfi: 'x86_64-efi',
  efiSupport: true,
};
export const GRUB_EFI_CONFIG = { ...GRUB_CONFIG, ...EFI, devices: ['nodev'], grub: '', grubTarget: '' };
export const GRUB_BOTH_CONFIG = { ...GRUB_CONFIG, ...EFI };

/** switch-to-configuration with a wrapper that sets its installer. */
function switchTo(installer: string): Record<string, string> {
  return {
    [`${TOPLEVEL}/bin/switch-to-configuration`]: `\x7fELF\0--set\0OUT\0${TOPLEVEL}\0INSTALL_BOOTLOADER\0${installer}\0PRE_SWITCH_CHECK\0${storePath('pre-switch-checks')}\0`,
  };
}

/** A system with GRUB. @returns the files in its store, for fakeSystem. */
export async function grubFiles(
  config: Partial<typeof GRUB_CONFIG> = {},
  { before = '', after = '' }: { before?: string; after?: string } = {},
): Promise<Record<string, string>> {
  const xml = storePath('grub-config.xml');
  return {
    ...switchTo(storePath('install-grub.sh')),
    [storePath('install-grub.sh')]: `#!${BASH}/bin/bash
set -e
${before}
${storePath('perl-5.40-env')}/bin/perl ${storePath('install-grub.pl')} ${xml} $@
${after}`,
    [storePath('install-grub.pl')]: 'addProfile "/nix/var/nix/profiles/system", "NixOS - All configurations";\n',
    [xml]: await toXml({ ...GRUB_CONFIG, ...config }),
  };
}

export interface SystemdBootConfig {
  readonly timeout?: string;
  readonly editor?: boolean;
  readonly consoleMode?: string;
  readonly configurationLimit?: number;
  readonly rebootForBitlocker?: boolean;
  readonly bootCounting?: number;
  readonly esp?: string;
  readonly boot?: string;
  /** Lines of the script that copies extra files. */
  readonly copies?: string;
  /** Commands after the builder. */
  readonly after?: string;
  /** Whether entries are named by hash, as since 26.05. */
  readonly byHash?: boolean;
}

/** A system with systemd-boot. @returns the files in its store, for fakeSystem. */
export function systemdBootFiles(config: SystemdBootConfig = {}): Record<string, string> {
  const { timeout = '5', editor = true, consoleMode = 'keep', configurationLimit = 0, byHash = false } = config;
  const { esp = '/boot', boot = esp, copies = '', after = '', rebootForBitlocker = false, bootCounting } = config;
  const builder = storePath('systemd-boot');
  return {
    ...switchTo(storePath('install-systemd-boot.sh')),
    [storePath('install-systemd-boot.sh')]: `#!${BASH}/bin/bash
${builder}/bin/systemd-boot "$@"
${after}
`,
    [`${builder}/bin/systemd-boot`]: `#! ${storePath('python3-3.13')}/bin/python3 -B
EFI_SYS_MOUNT_POINT = Path("${esp}")
BOOT_MOUNT_POINT = Path("${boot}")
LOADER_CONF = EFI_SYS_MOUNT_POINT / "loader/loader.conf"  # a comment
NIXOS_DIR = Path(
    "/EFI/nixos".strip("/")
)
TIMEOUT = "${timeout}"
EDITOR = "${editor ? '1' : ''}" == "1"  # noqa: PLR0133
CONSOLE_MODE = "${consoleMode}"
DISTRO_NAME = "NixOS"
CONFIGURATION_LIMIT = int("${configurationLimit}")
REBOOT_FOR_BITLOCKER = bool("${rebootForBitlocker ? '1' : ''}")
CAN_TOUCH_EFI_VARIABLES = "" == "1"
COPY_EXTRA_FILES = "${storePath('copy-extra-files')}"
CHECK_MOUNTPOINTS = "${storePath('check-mountpoints')}"
${byHash ? `BOOT_COUNTING_TRIES = "${bootCounting ?? 3}"\nBOOT_COUNTING = "${bootCounting === undefined ? 'False' : 'True'}" == "True"\ncontents_hash = hashlib.sha256(contents).hexdigest()\n` : ''}`,
    [storePath('copy-extra-files')]: `#!${BASH}/bin/bash\n${copies}`,
  };
}

/** A line that copies a file, as NixOS generates it from extraFiles. */
export function installLine(source: string, directory: string, name: string): string {
  const from = source === '/dev/null' ? `-D ${source}` : `-Dp "${source}"`;
  return `${COREUTILS}/bin/install ${from} "${directory}/"${/^[\w./-]+$/.test(name) ? name : `'${name}'`}\n`;
}

/** A system without a loader, or with a custom one. */
export function otherInstallerFiles(name: string): Record<string, string> {
  return { ...switchTo(storePath(name)), [storePath(name)]: `#!${BASH}/bin/bash\n` };
}
