import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { makeProgram } from '../../../cli/program.ts';
import { packageFile } from '../../../harness/cache-directory.ts';

test('the built manual page has every command and option, and no line that roff takes for a request', async () => {
  const page = await readFile(packageFile('dist/nixos-disk-image.1'), 'utf8');
  const escaped = (text: string): string => text.replaceAll('-', '\\-');
  for (const command of makeProgram('0', new AbortController().signal).commands) {
    expect(page).toContain(`.SS ${command.name()}`);
    for (const { long } of command.options) expect(page).toContain(escaped(long ?? ''));
  }
  const requests = new Set([...page.matchAll(/^[.'](\S+)/gm)].map(([, name]) => name));
  expect([...requests].sort()).toEqual(['B', 'BR', 'I', 'RI', 'SH', 'SS', 'TH', 'TP', 'fi', 'nf']);
});
