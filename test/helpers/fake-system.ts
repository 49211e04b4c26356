import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

export const HASH = '0123456789abcdfghijklmnpqrsvwxyz'.slice(0, 32);

/** Returns a fictitious store path. */
export const storePath = (name: string): string => `/nix/store/${HASH}-${name}`;

export interface FakeSystem {
  readonly store: string;
  readonly toplevel: string;
  readonly storePaths: readonly string[];
}

const TOPLEVEL = storePath('nixos-system-fake');

/** Returns the boot.json of a system. */
export function bootJson(more: object = {}, specialisations: object = {}): Record<string, unknown> {
  return {
    'org.nixos.bootspec.v1': {
      system: 'x86_64-linux',
      init: `${TOPLEVEL}/init`,
      initrd: `${storePath('initrd')}/initrd`,
      kernel: `${storePath('linux')}/bzImage`,
      kernelParams: ['console=ttyS0,115200n8', 'loglevel=4'],
      label: 'NixOS Fake 25.11',
      toplevel: TOPLEVEL,
      ...more,
    },
    'org.nixos.specialisation.v1': specialisations,
  };
}

/** Creates a private store with the files from which a loader is installed, but no programs. */
export async function fakeSystem(
  store: string,
  {
    json = bootJson(),
    kernelBytes = 4096,
    files = {},
  }: { json?: unknown; kernelBytes?: number; files?: Record<string, string> } = {},
): Promise<FakeSystem> {
  const all: Record<string, string | Buffer> = {
    [`${storePath('linux')}/bzImage`]: Buffer.alloc(kernelBytes, 'k'),
    [`${storePath('initrd')}/initrd`]: 'initrd',
    [`${TOPLEVEL}/init`]: '#!/bin/sh\n',
    [`${TOPLEVEL}/systemd/lib/systemd/boot/efi/systemd-bootx64.efi`]: 'MZ systemd-boot',
    ...(json === null ? {} : { [`${TOPLEVEL}/boot.json`]: typeof json === 'string' ? json : JSON.stringify(json) }),
    ...files,
  };
  for (const [file, content] of Object.entries(all)) {
    await mkdir(dirname(join(store, file)), { recursive: true });
    await writeFile(join(store, file), content);
  }
  return { store, toplevel: TOPLEVEL, storePaths: ['linux', 'initrd', 'nixos-system-fake'].map(storePath) };
}
