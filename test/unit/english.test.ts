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

/** Also forbidden in the harness, the scenarios and the tests. */
const IN_HARNESS: readonly Phrase[] = [
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

const filesIn = async (directory: string, pattern: RegExp): Promise<string[]> =>
  (await readdir(packageFile(directory), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(packageFile('.').length).replace(/^\/+/, ''));

const GROUPS: readonly (readonly [files: readonly string[], phrases: readonly Phrase[]])[] = [
  [
    [
      ...DOCUMENTS,
      ...(await filesIn('docs', /\.md$/)),
      ...(await filesIn('examples', /\.md$/)),
      ...(await filesIn('cli', /\.ts$/)),
    ],
    PHRASES,
  ],
  [
    [
      ...(await filesIn('lib', /\.ts$/)),
      ...(await filesIn('nix', /\.nix$/)),
      ...(await filesIn('vm-images', /\.(?:ts|mjs|c|nix|sh)$|^Dockerfile$/)),
    ],
    [...PHRASES, ...IN_SOURCES],
  ],
  [
    (await Promise.all(['harness', 'scenarios', 'test'].map((directory) => filesIn(directory, /\.ts$/))))
      .flat()
      .filter((file) => file !== 'test/unit/english.test.ts'),
    [...PHRASES, ...IN_HARNESS],
  ],
];

/** The start of a comment's next line, which may be in the middle of a phrase. */
const CONTINUATION = /\n[ \t]*(?:\*|\/\/|#)(?=[ \t])/g;

/** A regular expression: it quotes messages, which are checked where they are written. */
const REGEXP = /(?<=[\s([,:|])\/(?![/*])(?:\\.|\[(?:\\.|[^\]\n\\])*\]|[^/\\\n])+\/[a-z]*/g;

const blank = (found: string): string => ' '.repeat(found.length);

/** Finds phrases in a text. @returns a sentence for each, with the number of its line. */
function phrasesIn(text: string, phrases: readonly Phrase[]): string[] {
  const joined = text.replace(REGEXP, blank).replace(CONTINUATION, blank);
  return phrases.flatMap(([phrase, instead]) => {
    const anywhere = new RegExp(phrase.source.replaceAll(' ', '\\s+'), 'gi');
    return [...joined.matchAll(anywhere)].map(
      ({ 0: found, index }) => `${text.slice(0, index).split('\n').length}: "${found}": say ${instead}`,
    );
  });
}

describe.each(
  GROUPS.flatMap(([files, phrases]) => files.map((file) => [file, phrases] as const)),
)('%s', (file, phrases) => {
  test('is in plain English', async () => {
    expect(phrasesIn(await readFile(packageFile(file), 'utf8'), phrases)).toEqual([]);
  });
});

test('a phrase is found across the lines of a comment', () => {
  expect(phrasesIn('/** A file that is not\n *  there. */', IN_SOURCES)).toEqual([
    expect.stringMatching(/^1: "is not\s+there": say exists/),
  ]);
});
