import { PNG } from 'pngjs';
import { expect, test } from 'vitest';
import { cropScreen } from '../../../../harness/report/page/crop-screen.ts';
import { screenWith } from '../../../helpers/boot-reports.ts';

test.each([
  ['in the middle', [40, 20, 200, 60]],
  ['in the corner', [0, 0, 10, 10]],
  ['in the other corner', [700, 390, 20, 10]],
  ['of one pixel', [719, 0, 1, 1]],
])('what is on the screen is kept, with a margin: %s', (_, [left = 0, top = 0, width = 0, height = 0]) => {
  const cropped = cropScreen(screenWith(left, top, width, height));
  expect(cropped).toMatchObject({ width: width + 16, height: height + 16 });
  const { data } = PNG.sync.read(Buffer.from(cropped?.png ?? '', 'base64'));
  let white = 0;
  for (let at = 0; at < data.length; at += 4) if (data.readUInt32BE(at) === 0xff_ff_ff_ff) white += 1;
  expect(white).toBe(width * height);
  // The margin has the color of the screen.
  expect(data.readUInt32BE(0)).toBe(0x00_00_00_ff);
});

test('of an empty screen nothing is kept', () => {
  expect(cropScreen(screenWith(0, 0, 0, 0))).toBeUndefined();
});
