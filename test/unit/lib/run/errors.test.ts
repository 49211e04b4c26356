import { expect, test } from 'vitest';
import {
  InvalidOptionsError,
  NoSpaceError,
  quoteForDisplay,
  ToolFailedError,
  UnexpectedStateError,
} from '../../../../lib/run/errors.ts';

test('a tool’s failure names the step, the command, how it ended and its output', () => {
  const error = new ToolFailedError(
    {
      step: 'mountRoot',
      argv: ['mount', "it's"],
      exitCode: 32,
      signal: undefined,
      outputTail: 'bad superblock\n',
      durationMs: 12,
      executor: 'this host',
    },
    { hint: 'look at it', what: 'cannot mount' },
  );
  expect(error.code).toBe('E_TOOL_FAILED');
  expect(error.name).toBe('ToolFailedError');
  expect(error.shortMessage).toBe('mountRoot: cannot mount (mount exited with status 32)');
  expect(error.message).toBe(
    "mountRoot: cannot mount (mount exited with status 32)\n\nCommand (this host): mount 'it'\\''s'\nbad superblock\n\nHint: look at it",
  );
});

test('issues are listed with their paths', () => {
  const one = new InvalidOptionsError('x', [{ path: 'a', message: 'is wrong' }]);
  expect(one.message).toBe('x: a: is wrong');
  const two = new InvalidOptionsError('x', [
    { path: 'a', message: 'is wrong' },
    { path: '', message: 'all is wrong' },
  ]);
  expect(two.message).toBe('x: 2 problems\n  a: is wrong\n  all is wrong');
});

test('space errors state needed and available', () => {
  const error = new NoSpaceError('makeFilesystem', 'img', {
    neededBytes: 1024,
    availableBytes: 512,
    neededInodes: 7,
    availableInodes: 3,
  });
  expect(error.message).toBe(
    'makeFilesystem: no space left in img; needed 1024 bytes (1 KiB), available 512 bytes (512 B); needed 7 inodes, available 3',
  );
});

test('unexpected states say what was expected and found', () => {
  expect(new UnexpectedStateError('s', 'odd', { expected: 'a', found: 'b' }).message).toBe(
    's: odd; expected a, found b',
  );
});

test('arguments are quoted in messages only if necessary', () => {
  expect(quoteForDisplay('--offset=12')).toBe('--offset=12');
  expect(quoteForDisplay('a b')).toBe("'a b'");
  expect(quoteForDisplay('')).toBe("''");
});
