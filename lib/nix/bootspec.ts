import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InvalidOptionsError } from '../run/errors.ts';
import { readInStore, resolveInStore, storePathOf } from './store.ts';

/** The boot.json of a system: its kernel, initrd and kernel parameters. @see NixOS RFC 125, "Bootspec" */
export interface Bootspec {
  /** Undefined for the system itself. */
  readonly specialisation: string | undefined;
  readonly label: string;
  /** `x86_64-linux` */
  readonly system: string;
  readonly toplevel: string;
  /** The value of the kernel parameter `init=`. */
  readonly init: string;
  readonly kernelParams: readonly string[];
  readonly kernel: BootFile;
  readonly initrd: BootFile | undefined;
  readonly devicetree: BootFile | undefined;
  /** For systemd-boot; default "nixos". */
  readonly sortKey: string;
  /** More initrds for systemd-boot, as paths on its partition. They are not installed here. */
  readonly extraInitrds: readonly string[];
  /** The content of the system's file nixos-version, or otherwise the label. */
  readonly version: string;
  /** The title of a specialisation in a menu (`boot.loader.grub.configurationName`), or empty. */
  readonly configurationName: string;
}

/** A kernel or an initrd in the store. */
export interface BootFile {
  /** `/nix/store/HASH-NAME/…`, with symbolic links resolved. */
  readonly path: string;
  /** Its path on this host. */
  readonly source: string;
  readonly sizeBytes: number;
}

/** A generation of the system profile: the system itself, and its specialisations in alphabetical order. */
export interface Generation {
  readonly number: number;
  readonly systems: readonly [Bootspec, ...Bootspec[]];
}

const V1 = 'org.nixos.bootspec.v1';
const SPECIALISATION_V1 = 'org.nixos.specialisation.v1';
const SYSTEMD_BOOT = 'org.nixos.systemd-boot';
const EXTRA_INITRD = 'org.nixos.extra-initrd.v1';

const storeFile = z.string().regex(/^\/nix\/store\/./, 'must be a path in the Nix store');
const printable = z.string().regex(/^[^\n\r\0]*$/, 'must be one line');
/** Becomes part of a file's name on the ESP. */
const specialisationName = z.string().regex(/^[^/\n\r\0"]+$/, 'is not a valid name of a specialisation');

const bootspecV1 = z.object({
  system: printable,
  init: storeFile,
  initrd: storeFile.nullish(),
  initrdSecrets: z.string().nullish(),
  kernel: storeFile,
  kernelParams: z.array(printable),
  label: printable,
  toplevel: storeFile,
});
const systemdBootExtension = z.object({ sortKey: printable.optional(), devicetree: storeFile.nullish() });
const document = z.object({
  [V1]: bootspecV1,
  [SYSTEMD_BOOT]: systemdBootExtension.optional(),
  [EXTRA_INITRD]: z.object({ paths: z.array(printable).default([]) }).optional(),
});
const topDocument = document.extend({ [SPECIALISATION_V1]: z.record(specialisationName, document).optional() });

/** Reads the boot.json of a system and finds all files that it names.
 *  @param storePaths the store paths in the image, which must contain those files.
 *  @throws {InvalidOptionsError} when boot.json is missing, malformed or of another version, names a file that does not
 *  exist or is not in the closure, or requires the system's own code to run. */
export async function readGeneration(
  step: string,
  { number, toplevel }: { readonly number: number; readonly toplevel: string },
  { store, storePaths }: { readonly store?: string | undefined; readonly storePaths?: readonly string[] | undefined },
): Promise<Generation> {
  const sourceRoot = store ?? '/';
  const file = join(sourceRoot, toplevel, 'boot.json');
  const wrong = (messages: readonly string[], hint?: string): InvalidOptionsError =>
    new InvalidOptionsError(
      step,
      messages.map((message) => ({ path: 'toplevel', message: `${toplevel}/boot.json ${message}` })),
      { hint },
    );
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw wrong(
      [cause.code === 'ENOENT' ? 'does not exist' : `cannot be read: ${cause.message}`],
      'use a system of NixOS 23.05 or newer, or bootLoaderFrom "switch-to-configuration", which runs the system\'s own installer',
    );
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw wrong([`is not valid JSON: ${cause instanceof Error ? cause.message : cause}`]);
  }
  const versions = typeof json === 'object' && json !== null ? Object.keys(json) : [];
  if (!versions.includes(V1)) {
    const other = versions.filter((key) => /^org\.nixos\.bootspec\.v\d+$/.test(key));
    throw wrong(
      [other.length > 0 ? `has another version: expected ${V1}, found ${other.join(', ')}` : `has no ${V1}`],
      other.length > 0 ? 'use a newer nixos-disk-image, if one supports it' : undefined,
    );
  }
  const parsed = topDocument.safeParse(json);
  if (!parsed.success)
    throw wrong(parsed.error.issues.map(({ path, message }) => `is malformed at ${path.join(' / ')}: ${message}`));

  const inClosure = storePaths === undefined ? undefined : new Set(storePaths);
  const lookUp = async (named: string, what: string): Promise<BootFile> => {
    const path = await resolveInStore(sourceRoot, named);
    const facts = path === undefined ? undefined : await stat(join(sourceRoot, path)).catch(() => undefined);
    if (path === undefined || facts?.isFile() !== true)
      throw wrong([`names the ${what} ${named}, which is not a file`]);
    const storePath = storePathOf(path);
    if (storePath === undefined || (inClosure !== undefined && !inClosure.has(storePath)))
      throw wrong([`names the ${what} ${named}, which is not in the closure of the system`]);
    return { path, source: join(sourceRoot, path), sizeBytes: facts.size };
  };
  const system = async (part: z.output<typeof document>, specialisation: string | undefined): Promise<Bootspec> => {
    const { kernel, initrd, initrdSecrets, init, toplevel: top, label, kernelParams, system: platform } = part[V1];
    if (initrdSecrets !== undefined && initrdSecrets !== null)
      throw wrong(
        [`has initrdSecrets (boot.initrd.secrets): the system's ${initrdSecrets} must run to add them to the initrd`],
        'use bootLoaderFrom "switch-to-configuration"; "bootspec" does not run the system\'s own code',
      );
    for (const named of [init, top])
      if (inClosure !== undefined && !inClosure.has(storePathOf(named) ?? ''))
        throw wrong([`names ${named}, which is not in the closure of the system`]);
    const { sortKey = 'nixos', devicetree } = part[SYSTEMD_BOOT] ?? {};
    return {
      ...{ specialisation, label, system: platform, toplevel: top, init, kernelParams, sortKey },
      extraInitrds: part[EXTRA_INITRD]?.paths ?? [],
      version: (await firstLine(sourceRoot, `${top}/nixos-version`)) || label,
      configurationName: await firstLine(sourceRoot, `${top}/configuration-name`),
      kernel: await lookUp(kernel, 'kernel'),
      initrd: initrd === undefined || initrd === null ? undefined : await lookUp(initrd, 'initrd'),
      devicetree: devicetree === undefined || devicetree === null ? undefined : await lookUp(devicetree, 'devicetree'),
    };
  };
  const { [SPECIALISATION_V1]: specialisations = {}, ...own } = parsed.data;
  const others: Bootspec[] = [];
  for (const [name, part] of Object.entries(specialisations).sort(([a], [b]) => (a < b ? -1 : 1)))
    others.push(await system(part, name));
  return { number, systems: [await system(own, undefined), ...others] };
}

/** The first line of a file in the store; empty if the file does not exist. */
async function firstLine(store: string, file: string): Promise<string> {
  const text = (await readInStore(store, file)) ?? '';
  return text.split('\n')[0]?.trim() ?? '';
}

/** The names of a system's architecture in EFI file names and in GRUB. @see UEFI specification 3.5.1.1 */
export function efiArchitecture(system: string): { readonly name: string; readonly grub: string } | undefined {
  return {
    'x86_64-linux': { name: 'x64', grub: 'x86_64-efi' },
    'i686-linux': { name: 'ia32', grub: 'i386-efi' },
    'aarch64-linux': { name: 'aa64', grub: 'arm64-efi' },
    'riscv64-linux': { name: 'riscv64', grub: 'riscv64-efi' },
  }[system];
}

/** The name that NixOS's installers give to the copy of a store file: `HASH-NAME-FILE`, or `HASH-NAME` if the store
 *  path itself is the file. */
export function copyName({ path }: BootFile): string {
  const [storePath = '', ...rest] = path.slice('/nix/store/'.length).split('/');
  const file = rest.at(-1);
  return file === undefined ? storePath : `${storePath}-${file}`;
}
