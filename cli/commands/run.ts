import { Argument, Option } from 'commander';
import {
  firmwareOption,
  guestOptions,
  machineOptions,
  READ_FORMATS,
  repeated,
  secureBootOptions,
  tpmOptions,
} from '../options.ts';
import type { Declaration } from './declare.ts';

export const run: Declaration = {
  name: 'run',
  description:
    'Boot a disk image with this terminal as its serial console. The image is never written to. Ctrl-] ends it.',
  arguments: [new Argument('<image>', READ_FORMATS)],
  options: [
    firmwareOption(
      '--firmware <firmware>',
      'firmware to boot with; default: what the partition table of the image is for',
    ),
    ...machineOptions(),
    ...guestOptions(),
    ...secureBootOptions(),
    ...tpmOptions(),
    new Option(
      '--port <host:guest>',
      'a TCP port of 127.0.0.1 that leads to one of the guest, such as 2222:22; may be repeated; default: no network',
    ).argParser(repeated),
    new Option(
      '--keep <file>',
      'keep what the guest writes to its disk in this file, a qcow2 over the image; made if it does not exist, else continued',
    ).conflicts('snapshot'),
    new Option('--snapshot', 'discard what the guest writes to its disk, as it is without --keep'),
  ],
  examples: `
Examples:
  nixos-disk-image run nixos.img --firmware efi
  nixos-disk-image run nixos.img --port 2222:22      then, elsewhere:  ssh -p 2222 root@127.0.0.1
  nixos-disk-image run nixos.img --keep changes.qcow2      and the same again, to go on with that disk
  nixos-disk-image run nixos.img < /dev/null | tee console.log`,
  exitStatus:
    '0 the guest powered off, or was ended by Ctrl-] or by its reader; 1 it restarted itself or panicked; 2 usage, 3 the host lacks or failed something, 130 interrupted',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../run.ts')).runCommand(image, flags, signal),
};
