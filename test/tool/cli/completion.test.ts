import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { quoteForDisplay } from '../../../lib/run/errors.ts';
import { codeBlock, commandsOf } from '../../helpers/code-blocks.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';
import { openTerminal, type Terminal } from '../../helpers/tmux.ts';

const CLI = [process.execPath, packageFile('dist/cli/main.js')];
const script = (shell: string): Promise<string> => run([...CLI, 'completion', shell]);

/** How each shell is started with nothing of the user's but its prompt, and what docs/command-line.md tells to write or type. */
const SHELLS = {
  bash: { argv: ['bash', '-i'], file: '.bashrc', start: `PS1='ready> '`, block: '# for bash, in ~/.bashrc' },
  zsh: {
    argv: ['zsh', '-i'],
    file: '.zshrc',
    start: `PROMPT='ready> '\nautoload -Uz compinit\ncompinit -u -D`,
    block: '# for zsh, in ~/.zshrc',
  },
  fish: {
    argv: ['fish', '-i'],
    file: '.config/fish/config.fish',
    start: `function fish_prompt; echo 'ready> '; end\nfunction fish_greeting; end\nset -g fish_autosuggestion_enabled 0`,
    block: '# for fish',
  },
} as const;
type Shell = keyof typeof SHELLS;

/** A shell in a directory with an image, a specification, and what would show that a name was evaluated. */
async function open(shell: Shell): Promise<{ readonly terminal: Terminal; readonly directory: string }> {
  const directory = await tempDirectory();
  const { argv, file, start, block } = SHELLS[shell];
  for (const name of ['images', 'bin', '.config/fish/completions'])
    await mkdir(join(directory, name), { recursive: true });
  for (const name of ['nixos.img', 'over $(touch evaluated)', 'config.yaml', 'precious'])
    await writeFile(join(directory, name), name);
  // Shows whether it is started for anything but its script.
  const program = `#!/bin/sh\n[ "$1" = completion ] || touch started\nexec ${CLI.map(quoteForDisplay).join(' ')} "$@"\n`;
  await writeFile(join(directory, 'bin/nixos-disk-image'), program, { mode: 0o755 });
  const env = { ZDOTDIR: directory, HOME: directory, PATH: `${directory}/bin:${process.env.PATH}` };
  const lines = commandsOf(codeBlock(block));
  await writeFile(join(directory, file), [start, ...(shell === 'fish' ? [] : lines), ''].join('\n'));
  if (shell === 'fish') for (const line of lines) await run(['fish', '-c', line], { cwd: directory, env });
  const terminal = await openTerminal(argv, { cwd: directory, columns: 120, env });
  await terminal.until(/ready>/);
  return { terminal, directory };
}

describe.each(Object.keys(SHELLS) as Shell[])('%s', (shell) => {
  test('reads the script', async () => {
    const directory = await tempDirectory();
    await writeFile(join(directory, 'script'), await script(shell));
    await run([shell, '-n', 'script'], { cwd: directory });
  });

  test('completes commands, options, values and files', async () => {
    const { terminal, directory } = await open(shell);
    const completes = async (typed: string, completed: RegExp): Promise<void> => {
      await terminal.type(typed);
      await terminal.press('Tab');
      await terminal.until(completed);
      await terminal.press('C-u');
      await terminal.until(/ready>\s*$/);
    };
    await completes('nixos-disk-image insp', /ready> nixos-disk-image inspect *$/m);
    await completes('nixos-disk-image build --partition-t', /build --partition-table-type[ =]?$/m);
    await completes('nixos-disk-image build --partition-table-type hyb', /--partition-table-type hybrid *$/m);
    await completes('nixos-disk-image build --format=par', /--format=parallels *$/m);
    await completes('nixos-disk-image verify x.img --firmware bios ef', /--firmware bios efi *$/m);
    await completes('nixos-disk-image inspect nix', /inspect nixos\.img *$/m);
    await completes('nixos-disk-image build conf', /build config\.yaml *$/m);
    await completes('nixos-disk-image build --out ima', /--out images\/? *$/m);
    await completes('nixos-disk-image schema --of ver', /--of verify *$/m);
    await completes('nixos-disk-image completion fi', /completion fish *$/m);
    expect(await readdir(directory)).not.toContain('started');
  });

  test('shows what there is', async () => {
    const { terminal } = await open(shell);
    await terminal.type('nixos-disk-image run x.img --');
    await terminal.press('Tab', 'Tab');
    const shown = await terminal.until(/--snapshot/);
    expect(shown).toContain('--keep');
    expect(shown).not.toContain('--junit');
  });

  test('evaluates nothing that stands on the line: no name of a file, no substitution, no redirection', async () => {
    const { terminal, directory } = await open(shell);
    await terminal.type('nixos-disk-image inspect ov');
    await terminal.press('Tab');
    await terminal.until(/touch/);
    await terminal.type(' --js');
    await terminal.press('Tab');
    await terminal.until(/--json/);
    await terminal.press('C-u');
    await terminal.type('nixos-disk-image inspect "$(touch evaluated)" > precious --js');
    await terminal.press('Tab');
    await terminal.until(/precious --json/);
    expect(await readdir(directory)).not.toContain('evaluated');
    expect(await run(['cat', 'precious'], { cwd: directory })).toBe('precious');
  });
});
