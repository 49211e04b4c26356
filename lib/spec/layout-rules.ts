import { bootPartitionStartBytes, type PartitionTableType, supportsLargeSectors } from '../formats/layouts.ts';
import type { CrossRule } from '../run/parse-options.ts';
import { formatBytes, MIB, roundUp } from '../units.ts';

/** The boot partition must end after its start. For partitionDisk and the image specification. */
export const bootSizeRule: CrossRule<{ partitionTableType: PartitionTableType; bootSize: number }> = (options) => {
  if (options.partitionTableType === undefined || options.bootSize === undefined) return [];
  const start = bootPartitionStartBytes(options.partitionTableType);
  if (start === undefined || roundUp(options.bootSize, MIB) > start) return [];
  return [
    {
      path: 'bootSize',
      message: `is the end of the boot partition: with partitionTableType "${options.partitionTableType}" it must be more than ${formatBytes(start)}, found ${formatBytes(options.bootSize)}`,
    },
  ];
};

/** Not every layout boots from sectors of 4096 bytes. For partitionDisk and the image specification. */
export const sectorSizeRule: CrossRule<{ partitionTableType: PartitionTableType; sectorSize: 512 | 4096 }> = ({
  partitionTableType: type,
  sectorSize,
}) =>
  sectorSize !== 4096 || type === undefined || supportsLargeSectors(type)
    ? []
    : [
        {
          path: 'sectorSize',
          message:
            type === 'efixbootldr'
              ? '4096 contradicts partitionTableType "efixbootldr": systemd-boot up to version 257 finds no XBOOTLDR partition on such a disk; use "efi"'
              : `4096 contradicts partitionTableType "${type}": only EFI starts from such a disk; use "efi"`,
        },
      ];
