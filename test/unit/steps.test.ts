import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { STEPS } from '../../lib/all-steps.ts';
import * as lib from '../../lib/index.ts';
import { InvalidOptionsError } from '../../lib/run/errors.ts';
import { TOOLS } from '../../lib/run/tools.ts';

const isStep = (value: unknown): boolean => typeof value === 'function' && 'runs' in value;

test('the list has exactly the exported steps', () => {
  const exported = new Set(Object.values(lib).filter(isStep));
  expect(new Set(STEPS)).toEqual(exported);
});

test.each(
  STEPS.map((step) => [step.name, step] as const),
)('%s: the docstring says what it runs, and docs/steps.md what it takes', async (name, step) => {
  const [, section = ''] = (await readFile(packageFile('docs/steps.md'), 'utf8')).split(`### \`${name}\`\n`);
  const [, options = ''] = /\n\n(- [\s\S]*?)\n\n/.exec(section) ?? [];
  const names = [...options.matchAll(/^- `(\w+)` \(/gm)].map(([, option]) => option);
  expect(names.toSorted()).toEqual(step.optionNames.toSorted());
  const file = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const at = { inspectImage: 'inspect/inspect-image', diffImages: 'diff/diff-images' }[name] ?? `steps/${file}`;
  const source = (await readFile(packageFile(`lib/${at}.ts`), 'utf8')).replace(/\n \* +/g, ' ');
  expect(source).toContain(`Runs: ${step.runs.join(', ') || 'nothing'}. */`);
});

/** Programs of every Debian system. */
const BASE = [
  'cat',
  'cp',
  'dd',
  'ln',
  'chmod',
  'chroot',
  'mkdir',
  'mktemp',
  'mount',
  'realpath',
  'rm',
  'sh',
  'tee',
  'test',
  'umount',
  'xargs',
];

test('the table of programs has every program that a step runs', () => {
  const known = TOOLS.map(({ name }) => name);
  expect(STEPS.flatMap(({ runs }) => runs).filter((name) => !known.includes(name) && !BASE.includes(name))).toEqual([]);
});

test.each([
  [null],
  [7],
  ['a'],
  [[]],
])('options that are not an object, such as %j, are refused with a message', async (given) => {
  await expect(lib.createDisk(given as never)).rejects.toThrow(InvalidOptionsError);
});

test('old option names are accepted, but not together with the new ones', async () => {
  await expect(lib.removeMachineId({ root: 'relative' })).rejects.toThrow(/mountPoint: must be an absolute path/);
  const both = { root: '/mnt', mountPoint: '/mnt' };
  await expect(lib.removeMachineId(both)).rejects.toThrow(/root: is the old name of mountPoint/);
});

test('a step that works on this host’s files refuses an executor that does not see them', async () => {
  const elsewhere = { name: 'the moon', run: () => Promise.reject(new Error('is not to be run')) };
  const made = lib.createDisk({ image: '/nowhere/disk.img', sizeBytes: 512 }, { executor: elsewhere });
  await expect(made).rejects.toThrow(InvalidOptionsError);
  await expect(made).rejects.toThrow(/executor: the moon does not see this host's files/);
});
