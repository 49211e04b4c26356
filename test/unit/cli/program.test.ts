import { expect, test } from 'vitest';
import { makeProgram } from '../../../cli/program.ts';

const program = () => makeProgram('1.2.3', new AbortController().signal);

test.each([
  ['build', '[specification] [options]'],
  ['verify', '<image> [options]'],
  ['run', '<image> [options]'],
  ['diff', '<a> <b> [options]'],
])('usage of %s: arguments come first, because an option with several values takes what follows it', (name, usage) => {
  const command = program().commands.find((one) => one.name() === name);
  expect(command?.usage()).toBe(usage);
});

test('the error for an image that an option took says where to put it', async () => {
  const verify = program();
  for (const command of verify.commands) command.configureOutput({ writeErr: () => {} }).exitOverride();
  const parsed = verify.parseAsync(['verify', '--firmware', 'bios', 'nixos.img'], { from: 'user' });
  await expect(parsed).rejects.toThrow(/argument 'nixos\.img' is invalid[\s\S]* write it before --firmware/);
});
