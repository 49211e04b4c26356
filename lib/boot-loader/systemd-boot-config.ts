import { createHash } from 'node:crypto';
import type { FatFile } from '../filesystem/fat.ts';
import { type BootFile, type Bootspec, copyName, type Generation } from '../nix/bootspec.ts';
import type { SystemdBootSettings } from '../nix/systemd-boot-settings.ts';

/** The files that NixOS's systemd-boot installer writes for a system's settings.
 *  @see loader.conf(5); the Boot Loader Specification, type 1; nixos/modules/system/boot/loader/systemd-boot */

export function loaderConf(settings: SystemdBootSettings, defaultEntry: string): string {
  const { timeout, editor, consoleMode, rebootForBitlocker, bootCountingTries } = settings;
  return [
    `timeout ${timeout === 'none' ? 'menu-force' : timeout}`,
    // With boot counting, the newest good entry replaces an entry that failed too often.
    ...(bootCountingTries === undefined
      ? [`default ${defaultEntry}`]
      : [`preferred ${defaultEntry}`, 'default nixos-*']),
    ...(editor ? [] : ['editor 0']),
    ...(rebootForBitlocker ? ['reboot-for-bitlocker yes'] : []),
    `console-mode ${consoleMode}`,
    '',
  ].join('\n');
}

export interface LoaderEntries {
  /** The entries, and each kernel, initrd and devicetree once, with paths from the root of the partition. */
  readonly files: readonly FatFile[];
  /** The ID of the default entry: its file name without the boot counter. */
  readonly defaultEntry: string;
}

export function loaderEntries(
  systems: readonly Generation[],
  settings: SystemdBootSettings,
  { machineId, builtAt }: { readonly machineId: string | undefined; readonly builtAt: number },
): LoaderEntries {
  const files = new Map<string, FatFile>();
  const place = (file: BootFile): string => {
    const target = `EFI/nixos/${copyName(file)}.efi`;
    files.set(target, { path: target, content: file });
    return `/${target}`;
  };
  let defaultEntry = '';
  const { bootCountingTries, entriesByHash } = settings;
  const tries = bootCountingTries === undefined ? '' : `+${bootCountingTries}`;
  for (const { number, systems: ofGeneration } of systems.slice(-settings.configurationLimit))
    for (const system of ofGeneration) {
      const text = entryText(number, system, settings, place, machineId, builtAt);
      const name = entriesByHash
        ? `nixos-${createHash('sha256').update(text).digest('hex')}`
        : entryName(number, system.specialisation);
      const path = `loader/entries/${name}${tries}.conf`;
      files.set(path, { path, content: { text } });
      // The last assignment is that of the newest generation.
      if (system.specialisation === undefined) defaultEntry = `${name}.conf`;
    }
  return { files: [...files.values()], defaultEntry };
}

function entryName(generation: number, specialisation: string | undefined): string {
  return `nixos-generation-${generation}${specialisation === undefined ? '' : `-specialisation-${specialisation}`}`;
}

function entryText(
  generation: number,
  system: Bootspec,
  { distroName, entriesByHash }: SystemdBootSettings,
  place: (file: BootFile) => string,
  machineId: string | undefined,
  builtAt: number,
): string {
  const date = new Date(builtAt * 1000).toISOString().slice(0, 10);
  const sortKey = `sort-key ${system.sortKey}`;
  const lines = [
    `title ${distroName}${system.specialisation === undefined ? '' : ` (${system.specialisation})`}`,
    ...(entriesByHash ? [] : [sortKey]),
    `version Generation ${generation} ${system.label}, built on ${date}`,
    `linux ${place(system.kernel)}`,
    ...(system.initrd === undefined ? [] : [`initrd ${place(system.initrd)}`]),
    ...system.extraInitrds.map((initrd) => `initrd /${initrd}`),
    `options ${[`init=${system.init}`, ...system.kernelParams].join(' ')}`,
    ...(machineId === undefined ? [] : [`machine-id ${machineId}`]),
    ...(system.devicetree === undefined ? [] : [`devicetree ${place(system.devicetree)}`]),
    ...(entriesByHash ? [sortKey] : []),
  ];
  // The installer of NixOS 26.05 joins the lines, hashes them, and writes no newline at the end.
  return entriesByHash ? lines.join('\n') : `${lines.join('\n')}\n`;
}
