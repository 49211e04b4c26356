import { Argument, Option } from 'commander';
import { SPECIFICATION_FLAGS, specificationOf } from '../specification-flags.ts';
import type { Declaration } from './declare.ts';

export const build: Declaration = {
  name: 'build',
  description: 'Build a disk image from a NixOS system closure.',
  arguments: [
    new Argument(
      '[specification]',
      "a JSON, YAML or TypeScript file with make-disk-image's options; the flags below override it",
    ),
  ],
  options: [
    new Option('-o, --out <directory>', 'where the image goes').default('.'),
    ...SPECIFICATION_FLAGS,
    new Option(
      '--repart <directory>',
      'partitions as definitions of systemd-repart (repart.d) describe them, instead of a partition layout',
    ),
    new Option(
      '--disko <file>',
      'partitions as disko describes them: its evaluated devices as JSON, instead of a partition layout',
    ),
    new Option('--seed <uuid>', 'with --repart, derive identifiers from this UUID, as systemd-repart does'),
    new Option('--container <image>', 'run the programs in a container of this image: see vm-images/toolbox'),
    new Option('--verify', 'boot the finished image in every firmware it is made for'),
    new Option('--explain', 'print which way each phase would go, and why; build nothing'),
    new Option('--json', 'print the result as JSON on standard output'),
    new Option('-v, --verbose', 'show every command and its output'),
    new Option('-q, --quiet', 'show the result and failures only').conflicts('verbose'),
  ],
  examples: `
Examples:
  nix-build '<nixpkgs/nixos>' -A system -I nixos-config=./configuration.nix
  nixos-disk-image build --toplevel ./result --partition-table-type hybrid --out images --verify
  nixos-disk-image build image.json --format qcow2-compressed`,
  exitStatus: '0 good, 1 the system or the image is wrong, 2 usage, 3 the host lacks or failed something',
  run: async (given) => {
    const [file] = given.arguments;
    return (await import('../build.ts')).buildCommand(file, specificationOf(given), given.flags, given.signal);
  },
};
