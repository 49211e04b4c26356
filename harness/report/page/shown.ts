import { printableLines } from '../../../lib/printable.ts';

const LONGEST = 20_000;

/** What a guest or a user said, as text that shows its control characters and turns no other text around. */
export function shown(text: string): string {
  const cut = text.length - LONGEST;
  return printableLines(cut > 0 ? `${text.slice(0, LONGEST)} … ${cut} more characters are left out` : text);
}
