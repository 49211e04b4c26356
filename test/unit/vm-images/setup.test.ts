import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { STEPS } from '../../../lib/all-steps.ts';
import { TOOLS } from '../../../lib/run/tools.ts';
// @ts-expect-error plain JavaScript, because it runs before anything is installed.
import { PACKAGES } from '../../../vm-images/setup.mjs';

const needed = TOOLS.filter(({ optional }) => !optional);

test('the setup installs the package of every program that the project runs', () => {
  expect(Object.keys(PACKAGES)).toEqual(expect.arrayContaining(needed.map(({ debian }) => debian)));
});

test('the toolbox has every package, too', async () => {
  const dockerfile = await readFile(packageFile('vm-images/toolbox/Dockerfile'), 'utf8');
  const packages = [...dockerfile.matchAll(/^ {4}(\S+) \\$/gm)].map(([, name]) => name);
  expect(packages).toEqual(expect.arrayContaining(needed.map(({ debian }) => debian)));
});

test('the Nix package has the programs that steps run on this host', async () => {
  const expression = await readFile(packageFile('nix/package.nix'), 'utf8');
  const tools = /tools = \[(.*?)\]/s.exec(expression)?.[1]?.trim().split(/\s+/) ?? [];
  // Without the programs for machines, because the harness is not in it.
  const ofSteps = needed.filter(({ name }) => STEPS.some(({ runs }) => runs.includes(name)));
  expect(tools).toEqual(expect.arrayContaining([...new Set(ofSteps.map(({ nixpkgs }) => nixpkgs))]));
});
