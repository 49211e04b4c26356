import { MIB, roundDown, roundUp } from '../units.ts';
import type { Extent } from './extent.ts';
import type { PartitionPurpose } from './partition-table/partition.ts';
import { gptTypeName, purposeOf } from './partition-table/types.ts';

/** The seven partition layouts of make-disk-image. Partition numbers are defined only here.
 *  @see parted(8), and nixos/lib/make-disk-image.nix in nixpkgs for the layouts. */

export const PARTITION_TABLE_TYPES = [
  'legacy',
  'legacy+boot',
  'legacy+gpt',
  'efi',
  'efixbootldr',
  'hybrid',
  'none',
] as const;
export type PartitionTableType = (typeof PARTITION_TABLE_TYPES)[number];

/** The purpose of a partition. `boot` is a FAT at /boot that is neither an ESP nor the extended boot loader partition
 *  (`xbootldr`), as in legacy+boot. The seven layouts have no `swap` and no `data`. */
export type PartitionRole = 'root' | 'esp' | 'xbootldr' | 'boot' | 'bios-grub' | 'swap' | 'data';

/** A position on the disk: a parted position, or the end of the boot partition. */
type Position = `${number}${'MiB' | 's'}` | 'bootSize' | '100%';

/** What is known of a partition before it is made, in every layout. */
export interface LayoutPartition {
  readonly number: number;
  readonly role: PartitionRole;
  /** The name in a GPT; on an msdos table, parted expects the word `primary` instead. */
  readonly name: string;
  /** Where the installed system mounts it. */
  readonly mountPoint?: string | undefined;
  /** The label of its FAT; undefined for partitions that are not a FAT. */
  readonly label?: string | undefined;
}

export interface PartitionPlan extends LayoutPartition {
  readonly start: Position;
  readonly end: Position;
  /** parted's filesystem hint, which decides the partition type. */
  readonly fsHint?: 'ext4' | 'fat32';
  readonly flag?: 'boot' | 'bios_grub' | 'bls_boot';
  /** The GUID in a deterministic image. For a root partition, it replaces the default of rootGPUID. */
  readonly guid?: string;
}

export interface PartitionLayout {
  readonly table: 'gpt' | 'msdos' | 'none';
  readonly partitions: readonly PartitionPlan[];
  /** Whether legacy BIOS firmware can boot it. */
  readonly bios: boolean;
  /** Whether EFI firmware can boot it. */
  readonly efi: boolean;
  /** Whether `bootSize` has an effect. */
  readonly usesBootSize: boolean;
}

/** The disk GUID of a deterministic image: gptfdisk makes it from nixpkgs' argument, which lacks a digit. */
export const DETERMINISTIC_DISK_GUID = '97FD5997-F390-0B4A-A3F8-D106C1723AEA';
/** The default of rootGPUID and rootFSUID, as in nixpkgs. */
export const DETERMINISTIC_ROOT_GUID = 'F222513B-DED1-49FA-B591-20CE86A2FE7F';

const GUID_1 = '1C06F03B-704E-4657-B9CD-681A087A2FDC';
const GUID_2 = '970C694F-AFD0-4B99-B750-CDB7A329AB6F';

const root = (number: number, start: Position) =>
  ({
    number,
    role: 'root',
    start,
    end: '100%',
    name: 'primary',
    fsHint: 'ext4',
    mountPoint: '/',
  }) as const satisfies PartitionPlan;

const esp = (end: Position, mountPoint: string) =>
  ({
    number: 1,
    role: 'esp',
    start: '8MiB',
    end,
    name: 'ESP',
    fsHint: 'fat32',
    flag: 'boot',
    mountPoint,
    label: 'ESP',
    guid: GUID_1,
  }) as const satisfies PartitionPlan;

const LAYOUTS = {
  legacy: { table: 'msdos', bios: true, efi: false, usesBootSize: false, partitions: [root(1, '1MiB')] },
  'legacy+boot': {
    table: 'msdos',
    bios: true,
    efi: false,
    usesBootSize: true,
    partitions: [
      {
        number: 1,
        role: 'boot',
        start: '1MiB',
        end: 'bootSize',
        name: 'primary',
        fsHint: 'fat32',
        flag: 'boot',
        mountPoint: '/boot',
        label: 'BOOT',
      },
      root(2, 'bootSize'),
    ],
  },
  'legacy+gpt': {
    table: 'gpt',
    bios: true,
    efi: false,
    usesBootSize: false,
    partitions: [
      { number: 1, role: 'bios-grub', start: '1MiB', end: '2MiB', name: 'no-fs', flag: 'bios_grub', guid: GUID_1 },
      { ...root(2, '2MiB'), guid: GUID_2 },
    ],
  },
  efi: {
    table: 'gpt',
    bios: false,
    efi: true,
    usesBootSize: true,
    partitions: [esp('bootSize', '/boot'), root(2, 'bootSize')],
  },
  efixbootldr: {
    table: 'gpt',
    bios: false,
    efi: true,
    usesBootSize: true,
    partitions: [
      esp('100MiB', '/efi'),
      {
        number: 2,
        role: 'xbootldr',
        start: '100MiB',
        end: 'bootSize',
        name: 'BOOT',
        fsHint: 'fat32',
        flag: 'bls_boot',
        mountPoint: '/boot',
        label: 'BOOT',
        guid: GUID_2,
      },
      { ...root(3, 'bootSize'), name: 'ROOT' },
    ],
  },
  hybrid: {
    table: 'gpt',
    bios: true,
    efi: true,
    usesBootSize: true,
    partitions: [
      esp('bootSize', '/boot'),
      // In the gap before the ESP, for GRUB's core image.
      { number: 2, role: 'bios-grub', start: '34s', end: '2048s', name: 'no-fs', flag: 'bios_grub', guid: GUID_2 },
      root(3, 'bootSize'),
    ],
  },
  none: { table: 'none', bios: false, efi: false, usesBootSize: false, partitions: [] },
} as const satisfies Readonly<Record<PartitionTableType, PartitionLayout>>;

export const PARTITION_LAYOUTS: Readonly<Record<PartitionTableType, PartitionLayout>> = LAYOUTS;

/** The roles of partitions of any types, in their order. The ESP is the one that is mounted, or else the first one. */
export function rolesOf(
  partitions: readonly { readonly type: string; readonly mountPoint?: string | undefined; readonly isFat: boolean }[],
): PartitionRole[] {
  const purposes = partitions.map(({ type }) => purposeOf(gptTypeName(type)));
  const firstOf = (purpose: PartitionPurpose): number => {
    const mounted = partitions.findIndex((one, index) => purposes[index] === purpose && one.mountPoint !== undefined);
    return mounted >= 0 ? mounted : purposes.indexOf(purpose);
  };
  const [esp, xbootldr, biosGrub] = [firstOf('esp'), firstOf('xbootldr'), firstOf('bios-grub')];
  return partitions.map(({ mountPoint, isFat }, index) => {
    if (mountPoint === '/') return 'root';
    if (index === esp) return 'esp';
    if (index === xbootldr) return 'xbootldr';
    if (index === biosGrub) return 'bios-grub';
    if (mountPoint === '/boot' && isFat) return 'boot';
    return purposes[index] === 'swap' ? 'swap' : 'data';
  });
}

/** Whether a layout boots from sectors of 4096 bytes. BIOS firmware reads only sectors of 512 bytes, and systemd-boot, at
 *  least up to version 257, finds no XBOOTLDR partition on such a disk. @see systemd issue 32535 */
export function supportsLargeSectors(type: PartitionTableType): boolean {
  const { efi, bios, partitions } = PARTITION_LAYOUTS[type];
  return efi && !bios && partitions.every(({ role }) => role !== 'xbootldr');
}

/** The roles of a layout's partitions. */
export type RoleIn<T extends PartitionTableType> = (typeof LAYOUTS)[T]['partitions'][number]['role'];

/** The start of the partition whose end is `bootSize`; undefined where the layout has none. */
export function bootPartitionStartBytes(type: PartitionTableType): number | undefined {
  const plan = PARTITION_LAYOUTS[type].partitions.find((partition) => partition.end === 'bootSize');
  if (plan === undefined) return undefined;
  return Number.parseInt(plan.start, 10) * MIB;
}

/** The FAT volume ID of a partition in a deterministic image: the first eight digits of a fixed GUID. */
export function deterministicVolumeId(number: number): string {
  return (number === 1 ? GUID_1 : GUID_2).slice(0, 8);
}

/** Finds the partition with a role; `undefined` where the layout has none. */
export function findPartition(type: PartitionTableType, role: PartitionRole): PartitionPlan | undefined {
  return PARTITION_LAYOUTS[type].partitions.find((partition) => partition.role === role);
}

/** The places of a layout's partitions, in bytes, for layouts whose positions are in MiB. The last one ends at the last MiB
 *  before the GPT's second copy. */
export function partitionPlaces(type: PartitionTableType, bootSizeBytes: number, diskBytes: number): Extent[] {
  const at = (position: Position): number => {
    if (position === 'bootSize') return roundUp(bootSizeBytes, MIB);
    if (position === '100%') return roundDown(diskBytes - 1, MIB);
    return Number.parseInt(position, 10) * MIB;
  };
  return PARTITION_LAYOUTS[type].partitions.map(({ start, end }) => ({
    offsetBytes: at(start),
    sizeBytes: at(end) - at(start),
  }));
}

/** The parted commands for a layout, as arguments after `parted --script -- IMAGE`. `bootSizeBytes` is rounded up to a
 *  MiB. */
export function partedScript(type: PartitionTableType, bootSizeBytes: number): string[] {
  const layout = PARTITION_LAYOUTS[type];
  if (layout.table === 'none') return [];
  const at = (position: Position): string =>
    position === 'bootSize' ? `${roundUp(bootSizeBytes, MIB) / MIB}MiB` : position;
  const script = ['mklabel', layout.table];
  for (const partition of layout.partitions) {
    const name = layout.table === 'msdos' ? 'primary' : partition.name;
    script.push(
      'mkpart',
      name,
      ...(partition.fsHint === undefined ? [] : [partition.fsHint]),
      at(partition.start),
      at(partition.end),
    );
    if (partition.flag !== undefined) script.push('set', `${partition.number}`, partition.flag, 'on');
  }
  return script;
}
