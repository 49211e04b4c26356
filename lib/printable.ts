/** Control characters, and the marks that turn the direction of text: a terminal obeys them. */
const OBEYED = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Text out of an image, or out of what a program said of one, as one line that a terminal only shows. */
export function printable(text: string): string {
  return text.replace(OBEYED, escaped);
}

/** The same for text of several lines: their ends and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(OBEYED, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
}

/** JSON that a terminal may show: JSON.stringify leaves DEL, C1 and the marks of direction as they are. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2).replace(OBEYED, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function escaped(character: string): string {
  const known: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  const code = character.charCodeAt(0).toString(16);
  return known[character] ?? (code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`);
}
