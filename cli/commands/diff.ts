import { Argument, Option } from 'commander';
import { READ_FORMATS, wholeNumber } from '../options.ts';
import type { Declaration } from './declare.ts';

export const diff: Declaration = {
  name: 'diff',
  description: 'Show where two disk images differ: container, partition table, filesystem, path, field.',
  arguments: [new Argument('<a>', READ_FORMATS), new Argument('<b>', READ_FORMATS)],
  options: [
    new Option(
      '--timeout <seconds>',
      'skip whatever has not been compared by then, and report that; default 60',
    ).argParser(wholeNumber),
    new Option('--json', 'print the differences as JSON on standard output'),
  ],
  examples: `
Example:
  nixos-disk-image diff nixos.img again/nixos.img`,
  exitStatus: '0 they are the same, 1 they differ, 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [a = '', b = ''], flags, signal }) =>
    (await import('../diff.ts')).diffCommand(a, b, flags, signal),
};
