import type { FatFile } from '../filesystem/fat.ts';
import type { BootFile, Bootspec, Generation } from '../nix/bootspec.ts';

/** Where grub.cfg is, and how the kernels are found. */
export interface BootPlace {
  readonly uuid: string;
  readonly prefix: string;
  readonly kernelsOn: string;
  /** Whether kernels are copied beside grub.cfg; else GRUB reads them from the store. */
  readonly copies: boolean;
}

/** The menu. @see GNU GRUB manual, "Writing full configuration files directly" */
export function grubConfig(
  systems: readonly Generation[],
  boot: BootPlace,
  timeout: number,
  builtAt: number,
): { readonly config: string; readonly kernels: FatFile[] } {
  const kernels = new Map<string, FatFile>();
  const place = (file: BootFile): string => {
    if (!boot.copies) return file.path;
    // NixOS's installer names the copies by the whole path in the store.
    const target = `kernels/${file.path.slice('/nix/store/'.length).replaceAll('/', '-')}`;
    kernels.set(target, { path: target, content: file });
    return `/${target}`;
  };
  const entry = (title: string, indent: string, { kernel, initrd, init, kernelParams }: Bootspec): string[] =>
    [
      `menuentry ${quote(title)} --class nixos --unrestricted {`,
      `  search --no-floppy --set=drive1 --fs-uuid ${boot.kernelsOn}`,
      `  linux ($drive1)${place(kernel)} ${[`init=${init}`, ...kernelParams].map(word).join(' ')}`,
      ...(initrd === undefined ? [] : [`  initrd ($drive1)${place(initrd)}`]),
      '}',
    ].map((line) => `${indent}${line}`);
  const newestFirst = [...systems].reverse();
  const [newest, ...older] = newestFirst;
  const titled = ({ number, systems: [own] }: Generation): string =>
    `NixOS - Configuration ${number} (${new Date(builtAt * 1000).toISOString().slice(0, 10)} - ${own.label})`;
  const lines = [
    ...serialConsole(newest?.systems[0].kernelParams ?? []),
    'set default=0',
    `set timeout=${timeout}`,
    ...(newest?.systems ?? []).flatMap((system) =>
      entry(`NixOS - ${system.specialisation === undefined ? 'Default' : `(${system.specialisation})`}`, '', system),
    ),
    ...(older.length === 0
      ? []
      : [
          'submenu "NixOS - All configurations" {',
          ...newestFirst.flatMap((generation) =>
            generation.systems.flatMap((system) =>
              entry(
                system.specialisation === undefined
                  ? titled(generation)
                  : `${titled(generation)} (${system.specialisation})`,
                '  ',
                system,
              ),
            ),
          ),
          '}',
        ]),
  ];
  return { config: `${lines.join('\n')}\n`, kernels: [...kernels.values()] };
}

/** The menu on the serial port that is the kernel's console, besides the screen: `console=ttyS1,115200n8`. */
function serialConsole(kernelParams: readonly string[]): string[] {
  const [, unit, speed = '115200'] =
    kernelParams
      .map((parameter) => /^console=ttyS(\d+)(?:,(\d+))?/.exec(parameter))
      .findLast((match) => match !== null) ?? [];
  if (unit === undefined) return [];
  return [`serial --unit=${unit} --speed=${speed}`, 'terminal_input serial console', 'terminal_output serial console'];
}

function quote(text: string): string {
  return `"${text.replace(/["\\$]/g, '\\$&')}"`;
}

/** A word of the kernel's command line as GRUB's parser takes it. */
function word(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
