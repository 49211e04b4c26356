import { mkdtemp, readFile, readlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import type { BrokenImage } from '../broken-image.ts';
import { BOOTX64 } from '../parts.ts';
import type { Derive } from './base.ts';

/** The sections of a unified kernel image, at the addresses that systemd 252's ukify uses. @see UAPI.5 */
const SECTIONS = { '.osrel': 0x20000, '.cmdline': 0x30000, '.linux': 0x2000000, '.initrd': 0x3000000 } as const;

/** A unified kernel image is the only file on the ESP, and the firmware starts it. */
export const useUki: Derive = async (image) => {
  const uki = await unifiedKernelImage(image);
  await image.makeBootFilesystem();
  await image.addToEsp('EFI/BOOT/BOOTX64.EFI', uki);
  return undefined;
};

/** A unified kernel image is the only entry that systemd-boot finds. */
export const useUkiUnderSystemdBoot: Derive = async (image) => {
  const uki = await unifiedKernelImage(image);
  const systemdBoot = await image.readFromEsp(BOOTX64);
  await image.makeBootFilesystem();
  await image.addToEsp('EFI/BOOT/BOOTX64.EFI', systemdBoot);
  await image.addToEsp('EFI/Linux/nixos.efi', uki);
  await image.addToEsp('loader/loader.conf', 'timeout 0\n');
  return undefined;
};

/** Combines the files of a Type 1 loader entry into one EFI program. Runs: objcopy. */
async function unifiedKernelImage(image: BrokenImage): Promise<Buffer> {
  const entry = (await image.readFromEsp(/entries\/nixos-generation-\d+\.conf$/)).toString('utf8');
  const field = (name: string): string => new RegExp(`^${name} +(.*)$`, 'm').exec(entry)?.[1] ?? '';
  const directory = await mkdtemp(join(dirname(image.file), 'uki-'));
  const contents: Record<keyof typeof SECTIONS, string | Buffer> = {
    '.osrel': 'ID=nixos\nPRETTY_NAME="NixOS 25.11 (demo)"\nVERSION_ID=25.11\n',
    '.cmdline': field('options'),
    '.linux': await image.readFromEsp(field('linux')),
    '.initrd': await image.readFromEsp(field('initrd')),
  };
  const sections: string[] = [];
  for (const [name, address] of Object.entries(SECTIONS)) {
    const file = join(directory, name);
    await writeFile(file, contents[name as keyof typeof SECTIONS]);
    sections.push('--add-section', `${name}=${file}`, '--change-section-vma', `${name}=${address}`);
  }
  const output = join(directory, 'uki.efi');
  await run(['objcopy', ...sections, await stub(), output]);
  return readFile(output);
}

/** systemd's stub, from the demo with systemd. */
async function stub(): Promise<string> {
  const { store, systems } = await prepareDemo();
  const system = systems['demo-systemd-boot'] ?? '';
  const systemd = await readlink(join(store, system, 'systemd'));
  return join(store, systemd, 'lib/systemd/boot/efi/linuxx64.efi.stub');
}
