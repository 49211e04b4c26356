import { InvalidOptionsError } from '../run/errors.ts';
import { LEAST_OF_FORMAT } from '../spec/repart.ts';
import type { ImageInspection } from './inspect-image.ts';
import type { InspectedPartition } from './inspected-partition.ts';

/** A definition of systemd-repart. */
export interface RepartDefinition {
  /** The name of its file: "10-esp.conf". */
  readonly name: string;
  readonly text: string;
}

/** Types that systemd-repart knows by name. @see repart.d(5), Type= */
const NAMED = /^(?:(?:root|usr)-[a-z0-9-]+|esp|xbootldr|swap|home|srv|var|tmp|user-home|linux-generic)$/;
/** Filesystems that it makes. */
const FORMATS = ['ext4', 'btrfs', 'xfs', 'vfat', 'f2fs', 'swap'];

/** Describes the partitions of an image for systemd-repart, and for `readRepart`: sizes, types, names and GUIDs, but no files.
 *  @throws {InvalidOptionsError} without a GPT, and for a partition that a definition cannot describe. @see repart.d(5) */
export function repartDefinitions({ image, table, partitions }: ImageInspection): RepartDefinition[] {
  if (table !== 'gpt')
    throw new InvalidOptionsError('repartDefinitions', [
      { path: 'image', message: `${image} has no GPT, the only table that systemd-repart writes` },
    ]);
  const inOrder = [...partitions].sort((a, b) => a.offsetBytes - b.offsetBytes);
  return inOrder.map((partition, index) => {
    const next = inOrder[index + 1];
    const gap = next === undefined ? 0 : next.offsetBytes - partition.offsetBytes - partition.sizeBytes;
    const number = String((index + 1) * 10).padStart(String(inOrder.length * 10).length, '0');
    const word = (partition.typeName ?? 'partition').replace(/[^a-z0-9-]/g, '');
    return { name: `${number}-${word}.conf`, text: definitionOf(partition, gap) };
  });
}

function definitionOf(partition: InspectedPartition, gapBytes: number): string {
  const { number, type, typeName = '', name, partitionUuid, sizeBytes, filesystem, attributes } = partition;
  const refuse = (what: string): never => {
    throw new InvalidOptionsError('repartDefinitions', [
      { path: 'image', message: `partition ${number} cannot be described for systemd-repart: ${what}` },
    ]);
  };
  if (sizeBytes % 4096 !== 0 || gapBytes % 4096 !== 0) refuse('its size is not a multiple of 4096 bytes');
  if (Buffer.byteLength(name) > 36) refuse('its name is longer than 36 bytes');
  if (/[\p{Cc}\\]|^\s|\s$/u.test(name)) refuse('its name has a character that a definition cannot contain');
  const bits = attributes.map(Number);
  if (bits.some((bit) => bit < 48)) refuse('it has attributes below bit 48');
  // systemd-repart would make the partition larger for a filesystem that it makes no smaller.
  const format = FORMATS.find((one) => one === filesystem?.type && sizeBytes >= (LEAST_OF_FORMAT[one] ?? 0));
  const flags = bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
  const settings: (readonly [string, string | number])[] = [
    ['Type', NAMED.test(typeName) ? typeName : type],
    ['Label', name.replaceAll('%', '%%')],
    ['UUID', partitionUuid],
    ['SizeMinBytes', sizeBytes],
    ['SizeMaxBytes', sizeBytes],
    ...(gapBytes > 0
      ? ([
          ['PaddingMinBytes', gapBytes],
          ['PaddingMaxBytes', gapBytes],
        ] as const)
      : []),
    ...(format === undefined ? [] : ([['Format', format]] as const)),
    ['Flags', `0x${flags.toString(16)}`],
    // The bits that systemd-repart sets for some types by itself.
    ...(bits.includes(59) ? [] : ([['GrowFileSystem', 'no']] as const)),
    ...(bits.includes(60) ? [] : ([['ReadOnly', 'no']] as const)),
  ];
  return `[Partition]\n${settings.map(([key, value]) => `${key}=${value}\n`).join('')}`;
}
