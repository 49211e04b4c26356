import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';

// Imports point one way: a room imports only rooms before it in the list. Files outside of all rooms are used by every room (units,
// words) or use every room (index).

const ROOMS: Readonly<Record<string, readonly string[]>> = {
  lib: [
    'formats',
    'run',
    'host-files',
    'programs',
    'nix',
    'filesystem',
    'spec',
    'boot-loader',
    'inspect',
    'diff',
    'steps',
    'build',
  ],
  harness: ['console', 'qemu', 'verdict', 'builder', 'machine', 'verify', 'report'],
};

/** Files outside of the rooms that every room may use. */
const FOR_ALL = ['units.ts', 'printable.ts', 'errors.ts', 'cache-directory.ts'];
const HOUSES = ['lib', 'harness', 'cli'];

interface Import {
  readonly from: string;
  readonly to: string;
}

async function importsOf(house: string): Promise<Import[]> {
  const start = packageFile(house);
  const found: Import[] = [];
  for (const entry of await readdir(start, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.tsx?$/.test(entry.name)) continue;
    const file = join(entry.parentPath, entry.name);
    const text = await readFile(file, 'utf8');
    for (const [, target = ''] of text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g))
      found.push({
        from: relative(packageFile('.'), file),
        to: relative(packageFile('.'), resolve(dirname(file), target)),
      });
  }
  return found;
}

describe.each(HOUSES)('%s', (house) => {
  test('imports no later house', async () => {
    const behind = HOUSES.slice(HOUSES.indexOf(house) + 1);
    const wrong = (await importsOf(house)).filter(({ to }) => behind.some((other) => to.startsWith(`${other}/`)));
    expect(wrong).toEqual([]);
  });
});

test('docs/architecture.md draws the houses, from the one that may import all', async () => {
  const [, drawn = ''] = /```text\n(.*)\n/.exec(await readFile(packageFile('docs/architecture.md'), 'utf8')) ?? [];
  expect(drawn).toMatch(/^cli ──/);
  expect(drawn.split(/ ─+► /)).toEqual(HOUSES.toReversed());
});

describe.each(Object.entries(ROOMS))('%s', (house, rooms) => {
  const roomOf = (file: string): string | undefined => {
    const [first, room, ...rest] = file.split('/');
    return first === house && rest.length > 0 ? room : undefined;
  };

  test('every directory is a room, and every room is used', async () => {
    const entries = await readdir(packageFile(house), { withFileTypes: true });
    const directories = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    expect(directories.sort()).toEqual([...rooms].sort());
    const imports = await importsOf(house);
    for (const room of rooms) expect(imports.map(({ to }) => roomOf(to))).toContain(room);
  });

  test('CONTRIBUTING.md shows the rooms, in their order', async () => {
    const text = await readFile(packageFile('CONTRIBUTING.md'), 'utf8');
    const shown = [...text.matchAll(/^\| `(\w+)\/([\w-]+)` \| ./gm)].filter(([, first]) => first === house);
    expect(shown.map(([, , room]) => room)).toEqual(rooms);
  });

  test('a room imports no later room', async () => {
    const wrong = (await importsOf(house)).filter(({ from, to }) => {
      const room = roomOf(from);
      if (room === undefined || !to.startsWith(`${house}/`)) return false;
      const other = roomOf(to);
      if (other === undefined) return !FOR_ALL.includes(to.slice(house.length + 1));
      return rooms.indexOf(other) > rooms.indexOf(room);
    });
    expect(wrong).toEqual([]);
  });
});
