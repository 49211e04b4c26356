import { expect, test } from 'vitest';
import { TOOLS } from '../../../lib/run/tools.ts';
// @ts-expect-error plain JavaScript: it runs before anything is installed.
import { PACKAGES } from '../../../vm-images/setup.mjs';

test('the set-up installs the package of every program the project runs', () => {
  const needed = TOOLS.filter(({ optional }) => optional !== true).map(({ debian }) => debian);
  expect(Object.keys(PACKAGES)).toEqual(expect.arrayContaining(needed));
});
