import { readInStore } from './store.ts';

/** One line of fstab(5). */
export interface Mount {
  /** "/dev/disk/by-label/nixos", also where the line says "LABEL=nixos". */
  readonly device: string;
  /** "none" for swap. */
  readonly mountPoint: string;
  readonly type: string;
  /** "subvol=@" */
  readonly options: readonly string[];
}

/** What a system mounts: its fileSystems and swapDevices. Empty where it has no /etc/fstab.
 *  @see nixos/modules/tasks/filesystems.nix; fstab(5) */
export async function readMounts(store: string, toplevel: string): Promise<Mount[]> {
  const text = (await readInStore(store, `${toplevel}/etc/fstab`)) ?? '';
  return text.split('\n').flatMap((line) => {
    const [device = '', mountPoint = '', type = 'auto', options = ''] = line.trim().split(/\s+/).map(withBlanks);
    if (device === '' || device.startsWith('#') || mountPoint === '') return [];
    return [{ device: linkTo(device), mountPoint, type, options: options.split(',') }];
  });
}

/** `UUID=…` names the same device as a link in /dev/disk. */
export function linkTo(device: string): string {
  return device.replace(
    /^(UUID|LABEL|PARTUUID|PARTLABEL)="?([^"]*)"?$/,
    (_, kind: string, value: string) => `/dev/disk/by-${kind.toLowerCase()}/${udevName(value)}`,
  );
}

/** Blanks are written as octal numbers. */
function withBlanks(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

const KINDS = ['uuid', 'label', 'partuuid', 'partlabel'] as const;

/** A link in /dev/disk. */
export interface DiskLink {
  readonly kind: (typeof KINDS)[number];
  /** What it stands for: a UUID, a label, a name. */
  readonly value: string;
  /** The name of the link. */
  readonly link: string;
}

/** Splits /dev/disk/by-uuid/…; undefined for any other device. */
export function splitLink(device: string | undefined): DiskLink | undefined {
  const [, name, link] = /^\/dev\/disk\/by-([a-z]+)\/(.+)$/.exec(device ?? '') ?? [];
  const kind = KINDS.find((one) => one === name);
  const value = link?.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return kind === undefined || link === undefined || value === undefined ? undefined : { kind, value, link };
}

/** How udev writes a label or a name in /dev/disk: other characters than these as \x20.
 *  @see util_replace_chars and encode_devnode_name in systemd */
export function udevName(text: string): string {
  return text.replace(/[\0-\x7f]/g, (character) =>
    /[A-Za-z0-9#+\-.:=@_]/.test(character) ? character : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
