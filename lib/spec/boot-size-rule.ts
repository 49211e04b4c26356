import { bootPartitionStartBytes, type PartitionTableType } from '../formats/layouts.ts';
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
