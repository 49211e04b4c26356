import { subscribe } from 'node:diagnostics_channel';
import { afterEach, expect } from 'vitest';
import { STEPS } from '../../lib/all-steps.ts';

// Checks in every test that a step runs only the programs that it declares. Programs that the caller named by a path are exempt.

const declared = new Map(STEPS.map(({ name, runs }) => [name, runs]));
const undeclared = new Set<string>();

subscribe('nixos-disk-image:command', (message) => {
  const { step, argv } = message as { readonly step: string; readonly argv: readonly string[] };
  const [program = ''] = argv;
  if (declared.get(step)?.includes(program) === false && !program.includes('/'))
    undeclared.add(`${step} runs ${program}`);
});

afterEach(() => {
  const found = [...undeclared];
  undeclared.clear();
  expect(found).toEqual([]);
});
