import { expect, test } from 'vitest';
import { isLiveTerminal } from '../../../cli/progress.ts';

test.each([
  ['a terminal', { isTTY: true, columns: 80 }, 'xterm', true],
  ['a terminal without a size, as in a Nix build', { isTTY: true, columns: 0 }, 'xterm', false],
  ['a terminal that cannot move the cursor', { isTTY: true, columns: 80 }, 'dumb', false],
  ['a file', {}, 'xterm', false],
] as const)('%s', (_, stream, term, live) => {
  expect(isLiveTerminal(stream, term)).toBe(live);
});
