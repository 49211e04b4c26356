import { Argument, Option } from 'commander';
import { wholeNumber } from '../options.ts';
import type { Declaration } from './declare.ts';

export const size: Declaration = {
  name: 'size',
  description: 'Show how much a system takes in an image, and its largest store paths, before anything is built.',
  arguments: [new Argument('<toplevel>', 'a system: a store path, or a link to one such as ./result')],
  options: [
    new Option(
      '--store <path>',
      "directory of a private Nix store that contains the system; default: the host's store",
    ),
    new Option('--additional-paths <path...>', 'more store paths, with their closures'),
    new Option('--top <number>', 'how many of the largest store paths to show').argParser(wholeNumber).default(20),
    new Option('--json', 'print every store path as JSON'),
  ],
  examples: `
Examples:
  nixos-disk-image size ./result
  nixos-disk-image size ./result --top 100
  nixos-disk-image build --toplevel ./result --max-size 2G`,
  exitStatus: '0 shown, 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [toplevel = ''], flags, signal }) =>
    (await import('../size.ts')).sizeCommand(toplevel, flags, signal),
};
