import { PNG } from 'pngjs';

export interface CroppedScreen {
  /** In base64. */
  readonly png: string;
  readonly width: number;
  readonly height: number;
}

/** Pixels of the background around what is shown. */
const MARGIN = 8;

/** What is on a screen, with a margin and without the empty rest of it; undefined for a screen that is all one color. The picture
 *  is a PNG in base64. */
export function cropScreen(picture: string): CroppedScreen | undefined {
  const source = PNG.sync.read(Buffer.from(picture, 'base64'));
  const pixels = pixelsOf(source);
  const background = mostFrequent(pixels);
  const box = contentOf(pixels, source.width, background);
  if (box === undefined) return undefined;
  const { left, top, width, height } = box;
  const target = new PNG({ width: width + 2 * MARGIN, height: height + 2 * MARGIN });
  pixelsOf(target).fill(background);
  PNG.bitblt(source, target, left, top, width, height, MARGIN, MARGIN);
  return { png: PNG.sync.write(target).toString('base64'), width: target.width, height: target.height };
}

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Where pixels have another color than the background. */
function contentOf(pixels: Uint32Array, columns: number, background: number): Box | undefined {
  let [left, top, right, bottom] = [columns, pixels.length, -1, -1];
  for (const [index, pixel] of pixels.entries()) {
    if (pixel === background) continue;
    const [x, y] = [index % columns, Math.floor(index / columns)];
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }
  return right < 0 ? undefined : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

function mostFrequent(pixels: Uint32Array): number {
  const counts = new Map<number, number>();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  return [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0])[0];
}

function pixelsOf({ data, width, height }: PNG): Uint32Array {
  return new Uint32Array(data.buffer, data.byteOffset, width * height);
}
