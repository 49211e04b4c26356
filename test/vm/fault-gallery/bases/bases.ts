import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildImageOptions, buildImage } from '../../../../lib/build/build-image.ts';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { BrokenImage } from '../broken-image.ts';
import type { Base, Derive } from './base.ts';
import { encryptRoot, PASSPHRASE } from './luks.ts';
import { useSyslinux } from './syslinux.ts';
import { useUki, useUkiUnderSystemdBoot } from './uki.ts';

export type BaseName =
  | 'legacy'
  | 'hybrid'
  | 'systemd-boot'
  | 'systemd'
  | 'uki'
  | 'uki-systemd-boot'
  | 'syslinux'
  | 'luks'
  | 'luks-built';

/** Images built by this library, or derived from one. The demo's init is busybox, which boots faster; "systemd" has systemd. */
const BASES: Readonly<
  Record<
    BaseName,
    | {
        readonly system: string;
        readonly table: BuildImageOptions['partitionTableType'];
        readonly isEncrypted?: true;
      }
    | { readonly from: BaseName; readonly derive: Derive }
  >
> = {
  legacy: { system: 'tiny-grub-bios', table: 'legacy' },
  hybrid: { system: 'tiny-grub-hybrid', table: 'hybrid' },
  'systemd-boot': { system: 'tiny-systemd-boot', table: 'efi' },
  systemd: { system: 'demo-grub-hybrid', table: 'hybrid' },
  uki: { from: 'systemd-boot', derive: useUki },
  'uki-systemd-boot': { from: 'systemd-boot', derive: useUkiUnderSystemdBoot },
  syslinux: { from: 'hybrid', derive: useSyslinux },
  luks: { from: 'hybrid', derive: encryptRoot },
  'luks-built': { system: 'tiny-systemd-boot-luks', table: 'efi', isEncrypted: true },
};

/** The bases, each created on first use. */
export class Bases {
  readonly #directory: string;
  readonly #made = new Map<BaseName, Promise<Base>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  get(name: BaseName): Promise<Base> {
    const made = this.#made.get(name) ?? this.#make(name);
    this.#made.set(name, made);
    return made;
  }

  async #make(name: BaseName): Promise<Base> {
    const base = BASES[name];
    const directory = join(this.#directory, name);
    if ('system' in base) return build(base.system, base.table, directory, base.isEncrypted === true);
    const from = await this.get(base.from);
    await mkdir(directory);
    const image = join(directory, 'base.img');
    await copySparse(from.image, image);
    const disk = (await base.derive(new BrokenImage(image, from.disk, from.toplevel))) ?? from.disk;
    return { image, disk, toplevel: from.toplevel };
  }
}

async function build(
  system: string,
  partitionTableType: BuildImageOptions['partitionTableType'],
  outDir: string,
  isEncrypted: boolean,
): Promise<Base> {
  const { store, systems } = await prepareDemo();
  await mkdir(outDir, { recursive: true });
  const passphraseFile = join(outDir, 'passphrase');
  await writeFile(passphraseFile, PASSPHRASE);
  const {
    image,
    disk,
    system: installed,
  } = await buildImage({
    ...{ toplevel: systems[system] ?? '', store, partitionTableType, outDir },
    ...{ additionalSpace: '64M', bootSize: '64M', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    // Cheap to open, because the guest is emulated.
    ...(isEncrypted ? { encrypt: { passphraseFile, keyDerivation: { type: 'pbkdf2', iterations: 1000 } } } : {}),
  });
  return { image, disk, toplevel: installed.toplevel };
}

/** Copies a file with its holes, and shares blocks if the filesystem supports it. */
export async function copySparse(from: string, to: string): Promise<void> {
  await run(['cp', '--sparse=always', '--reflink=auto', from, to]);
}
