import { Argument, Option } from 'commander';
import { READ_FORMATS, wholeNumber } from '../options.ts';
import type { Declaration } from './declare.ts';

export const inspect: Declaration = {
  name: 'inspect',
  description:
    'Show what is on a disk image, without booting it: partitions, filesystems, what firmware and boot loader start, generations, and what is wrong.',
  arguments: [new Argument('<image>', `${READ_FORMATS}; never written to`)],
  options: [
    new Option(
      '--deep',
      "have each filesystem's own program check it, on a copy in TMPDIR: e2fsck, fsck.vfat, btrfs, xfs_repair, fsck.erofs, fsck.f2fs",
    ),
    new Option(
      '--timeout <seconds>',
      'skip whatever has not been looked at by then; default 60, with --deep 600',
    ).argParser(wholeNumber),
    new Option(
      '--efi-vars <file>',
      'judge every EFI program by the Secure Boot keys in a store of EFI variables, such as OVMF_VARS.fd',
    ),
    new Option(
      '--passphrase-file <file>',
      'look into the LUKS2 partitions that the passphrase in this file opens; a newline at its end is not part of it',
    ),
    new Option(
      '--repart <directory>',
      'write definitions of systemd-repart (repart.d) for its partitions into a new directory',
    ),
    new Option('--json', 'print the result as JSON'),
    new Option('--sarif <file>', 'write what is wrong as SARIF 2.1.0, for services that show findings'),
  ],
  examples: `
Examples:
  nixos-disk-image inspect nixos.qcow2
  nixos-disk-image inspect nixos.img --deep`,
  exitStatus: '0, or 1 when something in it cannot work; 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../inspect.ts')).inspectCommand(image, flags, signal),
};
