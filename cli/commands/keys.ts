import { Argument, Option } from 'commander';
import { wholeNumber } from '../options.ts';
import type { Declaration } from './declare.ts';

export const keys: Declaration = {
  name: 'keys',
  description:
    'Make keys for Secure Boot: PK, KEK and db, each with a certificate, laid out as sbctl and lanzaboote keep them.',
  arguments: [
    new Argument('<action>', 'generate').choices(['generate']),
    new Argument('<directory>', 'a new or empty directory, not in the Nix store'),
  ],
  options: [
    new Option('--name <name>', 'what the names of the certificates begin with'),
    new Option('--days <number>', 'how long the certificates are valid; default 3650').argParser(wholeNumber),
  ],
  examples: `
Examples:
  nixos-disk-image keys generate secure-boot
  nixos-disk-image build --toplevel ./result --partition-table-type efi --boot-loader-from bootspec \\
    --secure-boot '{"key":"secure-boot/keys/db/db.key","certificate":"secure-boot/keys/db/db.pem"}'
  nixos-disk-image verify nixos.img --enroll secure-boot/keys/db/db.pem`,
  exitStatus: '0 made, 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [, directory = ''], flags, signal }) =>
    (await import('../keys.ts')).keysCommand(directory, flags, signal),
};
