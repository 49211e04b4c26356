/** Characters that a terminal acts on: control characters and bidirectional formatting characters. */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** Escapes untrusted text, such as a name in an image, so that a terminal shows it on one line and acts on none of
 *  it. */
export function printable(text: string): string {
  return text.replace(CONTROLS, escaped);
}

/** Like `printable`, but keeps newlines and tabs. */
export function printableLines(text: string): string {
  return text.replace(CONTROLS, (character) =>
    character === '\n' || character === '\t' ? character : escaped(character),
  );
}

/** JSON that is safe to print on a terminal: JSON.stringify does not escape DEL, C1 and bidirectional formatting
 *  characters. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2).replace(CONTROLS, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function escaped(character: string): string {
  const known: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  const code = character.charCodeAt(0).toString(16);
  return known[character] ?? (code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`);
}
