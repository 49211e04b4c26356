import { Argument, Option } from 'commander';
import type { Declaration } from './declare.ts';

export const shrink: Declaration = {
  name: 'shrink',
  description: 'Shrink a finished raw image in place: the ext4 at its end, its partition, and the disk.',
  arguments: [new Argument('<image>', 'a raw disk image that nothing uses')],
  options: [
    new Option(
      '--additional-space <size>',
      'free space to leave in the filesystem: an IEC size or bytes; default none',
    ),
    new Option('--json', 'print the new sizes as JSON'),
  ],
  examples: `
Examples:
  nixos-disk-image shrink nixos.img
  nixos-disk-image shrink nixos.img --additional-space 64M
  nixos-disk-image build --toplevel ./result --boot-loader-from bootspec --minimize`,
  exitStatus: '0 shrunk, or as small already; 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../shrink.ts')).shrinkCommand(image, flags, signal),
};
