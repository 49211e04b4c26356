import { WriteStream } from 'node:tty';
import { styleText } from 'node:util';

/** Whether a stream shows colours: FORCE_COLOR decides where it is set; else it must be a terminal, and NO_COLOR, TERM and CI are asked.
 *  @see https://no-color.org, https://force-color.org */
export function hasColours(stream: { readonly isTTY?: boolean }): boolean {
  const isAsked = process.env.FORCE_COLOR !== undefined || stream.isTTY === true;
  return isAsked && WriteStream.prototype.getColorDepth() > 1;
}

/** Words at the start of a line that say how something is. What a guest or an image wrote is indented further. */
const WORDS = [
  ['green', /^(?:GOOD|ok| {2}ok)\b/gm],
  ['red', /^(?:BAD|MISSING|BROKEN| {2}FAIL| {2}fatal| {2}error| {2}failed in stage)\b/gm],
  ['yellow', /^(?:slow|note| {2}warning)\b/gm],
] as const;

/** A report for standard output, with its words of good and bad in colour where that shows colours. */
export function coloured(report: string): string {
  if (!hasColours(process.stdout)) return report;
  return WORDS.reduce((text, [colour, words]) => text.replaceAll(words, (word) => styleText(colour, word)), report);
}
