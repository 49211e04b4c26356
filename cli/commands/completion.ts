import { Argument } from 'commander';
import type { Shell } from '../completion.ts';
import type { Declaration } from './declare.ts';

const SHELLS: readonly Shell[] = ['bash', 'zsh', 'fish'];

export const completion: Declaration = {
  name: 'completion',
  description: 'Print a script with which a shell completes commands, options and their values.',
  arguments: [new Argument('<shell>', 'the shell that reads it').choices(SHELLS)],
  options: [],
  examples: `
Examples:
  source <(nixos-disk-image completion bash)        in ~/.bashrc; with zsh the same in ~/.zshrc, after compinit
  nixos-disk-image completion fish > ~/.config/fish/completions/nixos-disk-image.fish`,
  exitStatus: '0, 2 usage',
  run: async ({ arguments: [shell], signal }) =>
    (await import('../completion.ts')).completionCommand(shell as Shell, signal),
};
