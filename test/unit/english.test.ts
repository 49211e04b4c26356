import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

// People read plain English: each of these phrases has a plainer form, given beside it. A space matches a line break as well.

type Phrase = readonly [phrase: RegExp, instead: string];

const PHRASES: readonly Phrase[] = [
  [/(?<!there )\bis no (?!longer|more|answer|init|shell)\w+/i, 'is not a …'],
  [/\bfor who\b/i, 'for those who, for people who'],
  [/\bwhoever\b(?! logs in)/i, 'those who, anyone who'],
  [/\bwherever\b/i, 'where'],
  [/\b(?:is|are|was|were) told\b(?! \|)/i, 'is reported, is given, is shown'],
  [/\bas (?:it|they) stands?\b/i, 'verbatim'],
  [/\bby whom(?:ever)?\b|\bby whoever\b/i, 'however it was made'],
  [/\bto see that (?:it|they) do(?:es)?\b/i, 'to verify that …'],
  [/\bof its own accord\b/i, 'by itself'],
  [/\b(?:folder|catalogue)s?\b(?!: ')/i, 'directory'],
];

/** Also forbidden in messages, docstrings and comments of the library, the Nix functions and the demo systems. */
const IN_SOURCES: readonly Phrase[] = [
  [/\b(?:be|is|are|was|were)(?: not| already)? there\b(?! (?:an?|any|no|the) )/i, 'exists, does not exist'],
  [
    /\bwhat (?:is|are|was) (?:in|of|on|no|not|wrong|left|there) /i,
    'the thing itself: its content, the problem, the rest',
  ],
  [/\bof (?:its|their) own\b(?! \w)/i, 'its own …, a separate …'],
  [/\bfor ever\b/i, 'forever'],
  [/\bwithout a word\b/i, 'silently'],
  [/\bexit(?:s|ed) \d/i, 'exits with status …'],
  [/\bin (?:the|its|their) places? of\b|\bin (?:its|their) place\b/i, 'instead of, instead'],
  [/\bas (?:\S+ ){1,4}ha(?:s|ve) (?:it|them)\b/i, 'as in …, like …'],
  [/\bbe told\b/i, 'be determined, be reported'],
  [/\bsa(?:ys?|id) of\b/i, 'describes, reports about'],
  [/\belse than\b/i, 'other than'],
  [/(?<!left )\bbehind\b/i, 'after, beyond'],
  [/\b(?:is|are) looked (?:at|into)\b/i, 'is examined, is read'],
  [/, for (?:it|they|there|nothing) /i, 'because'],
];

const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'action.yml'];

const filesIn = async (directory: string, pattern: RegExp): Promise<string[]> =>
  (await readdir(packageFile(directory), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(packageFile('.').length).replace(/^\/+/, ''));

const sources = [
  ...(await filesIn('lib', /\.ts$/)),
  ...(await filesIn('nix', /\.nix$/)),
  ...(await filesIn('vm-images', /\.(?:ts|mjs|c|nix|sh)$|^Dockerfile$/)),
];
const files = [...DOCUMENTS, ...(await filesIn('docs', /\.md$/)), ...(await filesIn('cli', /\.ts$/)), ...sources];

/** The start of a comment's next line, which may be in the middle of a phrase. */
const CONTINUATION = /\n[ \t]*(?:\*|\/\/|#)(?=[ \t])/g;

/** Finds phrases in a text. @returns a sentence for each, with the number of its line. */
function phrasesIn(text: string, phrases: readonly Phrase[]): string[] {
  const joined = text.replace(CONTINUATION, (start) => ' '.repeat(start.length));
  return phrases.flatMap(([phrase, instead]) => {
    const anywhere = new RegExp(phrase.source.replaceAll(' ', '\\s+'), 'gi');
    return [...joined.matchAll(anywhere)].map(
      ({ 0: found, index }) => `${text.slice(0, index).split('\n').length}: "${found}": say ${instead}`,
    );
  });
}

describe.each(files)('%s', (file) => {
  test('is in plain English', async () => {
    const phrases = sources.includes(file) ? [...PHRASES, ...IN_SOURCES] : PHRASES;
    expect(phrasesIn(await readFile(packageFile(file), 'utf8'), phrases)).toEqual([]);
  });
});

test('a phrase is found across the lines of a comment', () => {
  expect(phrasesIn('/** A file that is not\n *  there. */', IN_SOURCES)).toEqual([
    expect.stringMatching(/^1: "is not\s+there": say exists/),
  ]);
});
