import { Argument } from 'commander';
import { firmwareOption, machineOptions } from '../options.ts';
import type { Declaration } from './declare.ts';

export const run: Declaration = {
  name: 'run',
  description:
    'Boot a disk image with this terminal as its serial console. What the guest writes is thrown away. Ctrl-] ends it.',
  arguments: [new Argument('<image>', 'raw, qcow2, vdi or vpc')],
  options: [
    firmwareOption('--firmware <firmware>', "default: what the image's partition table is for"),
    ...machineOptions(),
  ],
  examples: `
Examples:
  nixos-disk-image run nixos.img --firmware efi
  nixos-disk-image run nixos.img < /dev/null | tee console.log`,
  exitStatus:
    '0 the guest powered off, or was ended by Ctrl-] or by its reader; 1 it restarted itself or panicked; 2 usage, 3 the host lacks or failed something, 130 interrupted',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../run.ts')).runCommand(image, flags, signal),
};
