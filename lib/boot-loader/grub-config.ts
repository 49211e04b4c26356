import { posix } from 'node:path';
import type { FatFile } from '../filesystem/fat.ts';
import type { BootFile, Bootspec, Generation } from '../nix/bootspec.ts';
import type { GrubSettings } from '../nix/grub-settings.ts';

/** How GRUB finds /boot and the kernels. */
export interface BootPlace {
  /** Arguments of `search` for the filesystem with /boot: `--fs-uuid 1234-ABCD`. */
  readonly search: string;
  /** The path of /boot on that filesystem: `/boot`, or empty if it is the filesystem's root. */
  readonly path: string;
  /** Arguments of `search` for the filesystem with the store. */
  readonly storeSearch: string;
  /** Whether kernels are copied to /boot/kernels. Otherwise GRUB reads them from the store. */
  readonly copies: boolean;
}

/** The menu's font, background and theme, by their paths below /boot. */
export interface GrubArtwork {
  readonly hasFont: boolean;
  /** `background.png` */
  readonly background: string | undefined;
  /** Files of the theme, below `theme/`. */
  readonly theme: readonly string[];
}

export interface GrubConfig {
  readonly config: string;
  /** Kernels and initrds to copy to /boot. */
  readonly kernels: readonly FatFile[];
}

/** Makes the same menu as NixOS's installer from the same settings.
 *  @see GNU GRUB manual, "Writing full configuration files directly";
 *  nixos/modules/system/boot/loader/grub/install-grub.pl */
export function grubConfig(
  systems: readonly Generation[],
  boot: BootPlace,
  settings: GrubSettings,
  artwork: GrubArtwork,
  builtAt: number,
): GrubConfig {
  const menu = new Menu(boot, settings);
  const newestFirst = [...systems].reverse();
  const [newest] = newestFirst;
  const bootRoot = `($drive1)${boot.path === '' ? '/' : boot.path}`;
  const { distroName } = settings;
  const extraEntries = settings.extraEntries === '' ? [] : [settings.extraEntries];
  const lines = [
    ...superusers(settings),
    ...menu.searches(''),
    ...chooseDefault(settings),
    ...graphics(settings, artwork),
    ...serialConsole(newest?.systems[0].kernelParams ?? [], settings.extraConfig),
    settings.extraConfig,
    ...(settings.extraEntriesBeforeNixOS ? extraEntries : []),
    ...(newest === undefined ? [] : menu.generation(newest, distroName, '', settings.entryOptions, true)),
    ...(settings.extraEntriesBeforeNixOS ? [] : extraEntries),
  ].map((line) => line.replaceAll('@bootRoot@', bootRoot));
  const all = newestFirst
    .slice(0, settings.configurationLimit)
    .flatMap((generation) =>
      menu.generation(
        generation,
        `${distroName} - Configuration ${generation.number}`,
        ` (${dateOf(builtAt)} - ${generation.systems[0].version})`,
        settings.subEntryOptions,
        false,
      ),
    );
  // GRUB does not accept a submenu without entries.
  if (all.length > 0)
    lines.push(`submenu ${quote(`${distroName} - All configurations`)} --class submenu {`, ...indent(all), '}');
  return { config: `${lines.join('\n')}\n`, kernels: [...menu.kernels.values()] };
}

class Menu {
  readonly kernels = new Map<string, FatFile>();
  readonly #boot: BootPlace;
  readonly #settings: GrubSettings;

  constructor(boot: BootPlace, settings: GrubSettings) {
    this.#boot = boot;
    this.#settings = settings;
  }

  /** Sets drive1 to the filesystem with /boot and drive2 to the one with the store. A system's extra entries use these
   *  names. */
  searches(before: string): string[] {
    const { search, storeSearch, copies } = this.#boot;
    return [
      `${before}search --no-floppy --set=drive1 ${search}`,
      ...(copies ? [] : [`${before}search --no-floppy --set=drive2 ${storeSearch}`]),
    ];
  }

  /** The entries of a generation and its specialisations, in a submenu unless the generation is the current one. */
  generation(
    { systems: [own, ...specialisations] }: Generation,
    name: string,
    suffix: string,
    options: string,
    isCurrent: boolean,
  ): string[] {
    const hasOthers = specialisations.length > 0;
    const entries = [
      ...this.#entry(`${name}${hasOthers ? ' - Default' : ''}${suffix}`, options, own),
      ...specialisations.flatMap((one) => this.#entry(`${name} - ${specialisationTitle(one)}`, '', one)),
    ];
    if (isCurrent || !hasOthers) return entries;
    return [`submenu ${quote(`${name}${suffix}`)} --class submenu {`, ...indent(entries), '}'];
  }

  #entry(title: string, options: string, { kernel, initrd, init, kernelParams }: Bootspec): string[] {
    const { default: chosen, extraPerEntryConfig } = this.#settings;
    return [
      `menuentry ${[quote(title), options].filter((part) => part !== '').join(' ')} {`,
      ...(chosen === 'saved' ? ['  savedefault'] : []),
      ...this.searches('  '),
      ...(extraPerEntryConfig === '' ? [] : [`  ${extraPerEntryConfig.trimEnd()}`]),
      // Unquoted, as NixOS's installer writes them: quotes and backslashes in them are for GRUB.
      `  linux ${this.#place(kernel)} ${[`init=${init}`, ...kernelParams].join(' ')}`,
      ...(initrd === undefined ? [] : [`  initrd ${this.#place(initrd)}`]),
      '}',
    ];
  }

  #place(file: BootFile): string {
    if (!this.#boot.copies) return `($drive2)${file.path}`;
    // NixOS's installer names the copies by the whole path in the store.
    const target = `kernels/${file.path.slice('/nix/store/'.length).replaceAll('/', '-')}`;
    this.kernels.set(target, { path: target, content: file });
    return `($drive1)${this.#boot.path}/${target}`;
  }
}

/** The title of a specialisation: its configurationName, or otherwise its name with date and version. */
function specialisationTitle({ specialisation, configurationName, version }: Bootspec): string {
  // NixOS's installer takes the date of a file in the store, which is 1970-01-01.
  return configurationName !== '' ? configurationName : `(${specialisation} - ${dateOf(1)} - ${version})`;
}

function superusers({ users }: GrubSettings): string[] {
  if (users.length === 0) return [];
  return [
    `set superusers=${quote(users.map(({ name }) => name).join(' '))}`,
    ...users.map(
      ({ name, isHashed, password }) => `${isHashed ? 'password_pbkdf2' : 'password'} ${word(name)} ${word(password)}`,
    ),
  ];
}

/** Selects the entry that grub-reboot chose for one boot, or otherwise the default. */
function chooseDefault({ default: chosen, timeout, timeoutStyle }: GrubSettings): string[] {
  return [
    'if [ -s $prefix/grubenv ]; then',
    '  load_env',
    'fi',
    'if [ "$next_entry" ]; then',
    '  set default="$next_entry"',
    '  set next_entry=',
    '  save_env next_entry',
    '  set timeout=1',
    '  set boot_once=true',
    'else',
    `  set default=${chosen === 'saved' ? '"$saved_entry"' : quote(chosen)}`,
    `  set timeout=${timeout === 'none' ? -1 : timeout}`,
    'fi',
    `set timeout_style=${timeoutStyle}`,
    'function savedefault {',
    '  if [ -z "$boot_once" ]; then',
    '    saved_entry="$chosen"',
    '    save_env saved_entry',
    '  fi',
    '}',
  ];
}

function graphics(settings: GrubSettings, { hasFont, background, theme }: GrubArtwork): string[] {
  const lines: string[] = [];
  const { gfxmodeEfi, gfxmodeBios, gfxpayloadEfi, gfxpayloadBios, backgroundColor, splashMode } = settings;
  if (hasFont)
    lines.push(
      'insmod all_video',
      'insmod font',
      'if loadfont @bootRoot@/converted-font.pf2; then',
      '  insmod gfxterm',
      '  if [ "$grub_platform" = "efi" ]; then',
      `    set gfxmode=${word(gfxmodeEfi)}`,
      `    set gfxpayload=${word(gfxpayloadEfi)}`,
      '  else',
      `    set gfxmode=${word(gfxmodeBios)}`,
      `    set gfxpayload=${word(gfxpayloadBios)}`,
      '  fi',
      '  terminal_output gfxterm',
      'fi',
    );
  if (background !== undefined)
    lines.push(
      ...(backgroundColor === '' ? [] : [`background_color ${word(backgroundColor)}`]),
      `insmod ${imageModule(background)}`,
      `if background_image --mode ${word(splashMode)} @bootRoot@/${background}; then`,
      '  set color_normal=white/black',
      '  set color_highlight=black/white',
      'else',
      '  set menu_color_normal=cyan/blue',
      '  set menu_color_highlight=white/blue',
      'fi',
    );
  if (theme.length > 0) {
    const modules = new Set(theme.filter((file) => /\.(png|jpe?g)$/i.test(file)).map(imageModule));
    lines.push(
      ...[...modules].sort().map((name) => `insmod ${name}`),
      'set theme=@bootRoot@/theme/theme.txt',
      'export theme',
      ...theme.filter((file) => /\.pf2$/i.test(file)).map((file) => `loadfont @bootRoot@/${word(file)}`),
    );
  }
  return lines;
}

function imageModule(file: string): string {
  const extension = posix.extname(file).slice(1).toLowerCase();
  return extension === 'jpg' ? 'jpeg' : extension;
}

/** Shows the menu also on the serial port that the kernel has as a console (`console=ttyS1,115200n8`), unless the
 *  system's extraConfig configures terminals itself. */
function serialConsole(kernelParams: readonly string[], extraConfig: string): string[] {
  const [, unit, speed = '115200'] =
    kernelParams
      .map((parameter) => /^console=ttyS(\d+)(?:,(\d+))?/.exec(parameter))
      .findLast((match) => match !== null) ?? [];
  if (unit === undefined || /^\s*(serial|terminal_(in|out)put)\b/m.test(extraConfig)) return [];
  return [
    `serial --unit=${unit} --speed=${speed}`,
    'terminal_input --append serial',
    'terminal_output --append serial',
  ];
}

function dateOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function quote(text: string): string {
  return `"${text.replace(/["\\$]/g, '\\$&')}"`;
}

/** Quotes a word for GRUB's parser. */
export function word(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
