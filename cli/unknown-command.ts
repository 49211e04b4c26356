import { statSync } from 'node:fs';
import { extname } from 'node:path';
import { nearestWord } from '../lib/run/did-you-mean.ts';
import { quoteForDisplay } from '../lib/run/errors.ts';
import { SPECIFICATION_EXTENSIONS } from './specification-extensions.ts';

/** What is said of a word that stands where a command should: the nearest command, or for a file the commands that take it. */
export function aboutUnknownCommand(word: string, commands: readonly string[]): string {
  const meant = commandsMeant(word, commands).map((one) => `nixos-disk-image ${one}`);
  const error = `error: unknown command '${word}'`;
  return meant.length === 0 ? error : `${error}\n(Did you mean ${meant.join(', or ')}?)`;
}

function commandsMeant(word: string, commands: readonly string[]): string[] {
  const kind = kindOf(word);
  const isFile = kind !== undefined || word.includes('/') || extname(word) !== '';
  const nearest = nearestWord(word, commands);
  if (!isFile) return nearest === undefined ? [] : [nearest];
  const file = quoteForDisplay(word);
  if (kind === 'directory') return [`build --toplevel ${file}`];
  if (SPECIFICATION_EXTENSIONS.includes(extname(word))) return [`build ${file}`];
  return [`inspect ${file}`, `verify ${file}`];
}

function kindOf(path: string): 'directory' | 'other' | undefined {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'other';
  } catch {
    return undefined;
  }
}
