import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

// What people read is plain English: these have a plainer form, given beside each.

const PHRASES: readonly (readonly [phrase: RegExp, instead: string])[] = [
  [/\bis no (?!longer|more|answer|init|shell)\w+/i, 'is not a …'],
  [/\bfor who\b/i, 'for those who, for people who'],
  [/\bwhoever\b(?! logs in)/i, 'those who, anyone who'],
  [/\bwherever\b/i, 'where'],
  [/\b(?:is|are|was|were) told\b(?! \|)/i, 'is reported, is given, is shown'],
  [/\bas (?:it|they) stands?\b/i, 'verbatim'],
  [/\bby whom(?:ever)?\b|\bby whoever\b/i, 'however it was made'],
  [/\bto see that (?:it|they) do(?:es)?\b/i, 'to verify that …'],
  [/\bof its own accord\b/i, 'by itself'],
  [/\b(?:folder|catalogue)s?\b/i, 'directory'],
];

const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'action.yml'];

const files = [
  ...DOCUMENTS,
  ...(await readdir(packageFile('examples'), { recursive: true }))
    .filter((name) => name.endsWith('.md') && !name.includes('node_modules'))
    .map((name) => join('examples', name)),
  ...(await readdir(packageFile('docs'))).filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
  ...(await readdir(packageFile('cli'), { recursive: true }))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join('cli', name)),
];

describe.each(files)('%s', (file) => {
  test('is in plain English', async () => {
    const lines = (await readFile(packageFile(file), 'utf8')).split('\n');
    const found = lines.flatMap((line, index) =>
      PHRASES.filter(([phrase]) => phrase.test(line)).map(
        ([phrase, instead]) => `${index + 1}: "${phrase.exec(line)?.[0]}": say ${instead}`,
      ),
    );
    expect(found).toEqual([]);
  });
});
