import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { makeProgram } from '../../cli/program.ts';
import { packageFile } from '../../harness/cache-directory.ts';
import { IMAGE_SPEC_DESCRIPTIONS, imageSpecSchema } from '../../lib/spec/image-spec.ts';
import { documents } from '../helpers/code-blocks.ts';

// Nothing that a user may write is without documentation, and the documents name nothing that does not exist.

const program = makeProgram('0', new AbortController().signal);
const texts = documents().map(({ text }) => text);

describe.each(program.commands.map((command) => [command.name(), command] as const))('%s', (_, command) => {
  test('every flag says what it does, in the manual page too', async () => {
    const page = (await readFile(packageFile('dist/nixos-disk-image.1'), 'utf8')).replaceAll('\\-', '-');
    for (const { flags, description } of command.options) {
      expect(description, flags).toMatch(/\w{2}/);
      expect(page.split('\n')).toContain(`.B ${flags}`);
    }
  });
});

test('every option of a specification has its own description, and its place in the documents', () => {
  const names = Object.keys(imageSpecSchema.shape);
  expect(new Set(Object.values(IMAGE_SPEC_DESCRIPTIONS)).size).toBe(names.length);
  expect(names.filter((name) => !texts.some((text) => new RegExp(`[\`".]${name}\\b`).test(text)))).toEqual([]);
});

test('every flag in the documents is one of that command', () => {
  const written = texts.flatMap((text) =>
    [...text.matchAll(/\bnixos-disk-image ([a-z]+)\b([^\n`|&;#]*)/g)].flatMap(([, name = '', rest = '']) =>
      [...rest.matchAll(/\s(--[a-z][\w-]*)/g)].map(([, flag]) => `${name} ${flag}`),
    ),
  );
  const known = program.commands.flatMap((one) => one.options.map(({ long }) => `${one.name()} ${long}`));
  expect(written.length).toBeGreaterThan(20);
  expect(written.filter((flag) => !known.includes(flag))).toEqual([]);
});
