import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

// Phrases that are not plain English, and what to say instead.

const PHRASES: readonly (readonly [phrase: RegExp, instead: string])[] = [
  [/(?<!\bthere )\bis no (?!longer|more|answer|init|shell)\w+/i, 'is not a …'],
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

const CODE_PHRASES: typeof PHRASES = [
  [/\bfor ever\b/i, 'forever, endlessly'],
  [/\banew\b/i, 'again'],
  [/\bagain and again\b/i, 'repeatedly'],
  [/\b(?:goes|go|going|gone|went) on\b/i, 'continues'],
  [/\bbehind (?:it|its|that|them|init)\b/i, 'after, followed by'],
  [/\bin the place of\b/i, 'instead of, in place of'],
  [/\bsomebody(?:'s| else)\b/i, 'a user, another user'],
  [/\bnobody (?:is|can|has|had|logs|serves|waits|asks|looks|needs|gives|knows)\b/i, 'no user, no program'],
  [/, for (?:it|they|this|that|there|nothing|nobody|otherwise) /i, 'because'],
  [/\bstands? (?:behind|before|beside|there)\b/i, 'follows, precedes, is in'],
  [/\b(?:can|cannot|to) be had\b/i, 'is available'],
  [/\b(?:is|are|was|were|be) looked (?:at|for|into|through)\b/i, 'is inspected, is searched'],
  [/\b(?:is|are|was|were) not there\b/i, 'is missing, does not exist'],
  [/\b(?:do|does|did) not come\b/i, 'does not appear'],
  [/\bcomes? (?:again|whole|behind)\b/i, 'reappears, arrives complete, follows'],
  [/\bas far as it is (?:used|read|known)\b/i, 'the parts that are …'],
  [/\bwithout a word\b/i, 'silently'],
  [/\bof (?:the |this |a )?\w+'s(?:[.,;:]|$| (?:that|which|to|and|is|are)\b)/i, 'of the …, from the …'],
];

const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'action.yml'];

const files = [
  ...DOCUMENTS,
  ...(await readdir(packageFile('docs'))).filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
  ...(await sourcesIn('cli')),
];

// Messages of programs and of the library, in regular expressions of tests and tables, are checked where they are written.
const REGEXP = /(?<=[\s([,:|])\/(?![/*])(?:\\.|\[(?:\\.|[^\]\n\\])*\]|[^/\\\n])+\/[a-z]*/g;

const code = (await Promise.all(['harness', 'scenarios', 'test'].map(sourcesIn)))
  .flat()
  .filter((file) => file !== 'test/unit/english.test.ts');

async function sourcesIn(directory: string): Promise<string[]> {
  const names = await readdir(packageFile(directory), { recursive: true });
  return names.filter((name) => name.endsWith('.ts')).map((name) => join(directory, name));
}

describe.each([
  ...files.map((file) => [file, PHRASES] as const),
  ...code.map((file) => [file, [...PHRASES, ...CODE_PHRASES]] as const),
])('%s', (file, phrases) => {
  test('is in plain English', async () => {
    const text = await readFile(packageFile(file), 'utf8');
    const lines = file.endsWith('.ts') ? text.replace(REGEXP, '').split('\n') : text.split('\n');
    const found = lines.flatMap((line, index) =>
      phrases
        .filter(([phrase]) => phrase.test(line))
        .map(([phrase, instead]) => `${index + 1}: "${phrase.exec(line)?.[0]}": say ${instead}`),
    );
    expect(found).toEqual([]);
  });
});
