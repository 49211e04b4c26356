import { closest, distance } from 'fastest-levenshtein';

/** The known word that was probably meant; undefined where none is near. */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  const [lower, words] = [word.toLowerCase(), [...known]];
  if (words.length === 0) return undefined;
  const nearest = closest(lower, words);
  return distance(lower, nearest.toLowerCase()) <= Math.max(2, word.length / 3) ? nearest : undefined;
}
