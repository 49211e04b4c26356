import { createHash } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readLuksHeader } from '../../../../lib/formats/luks.ts';
import { MIB } from '../../../../lib/units.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

/** The two copies of a header that cryptsetup made. */
const makeHeader = async (): Promise<Buffer> => (await readFile(await format('luks2'))).subarray(0, 0x8000);

async function format(type: 'luks1' | 'luks2', ...more: string[]): Promise<string> {
  const file = join(await tempDirectory(), 'header.img');
  await writeFile(file, '');
  await truncate(file, 32 * MIB);
  await run(
    [
      ...['cryptsetup', '--disable-locks', '--batch-mode', 'luksFormat', '--type', type, '--key-file', '-'],
      ...['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', ...more, file],
    ],
    { input: 'x' },
  );
  return file;
}

const read = (bytes: Buffer) => (at: number, count: number) => Promise.resolve(bytes.subarray(at, at + count));

/** Replaces the JSON of both copies, with checksums that are right. */
function withJson(made: Buffer, json: string): Buffer {
  const header = Buffer.from(made);
  for (const at of [0, 0x4000]) {
    const copy = header.subarray(at, at + 0x4000);
    copy.fill(0, 4096);
    copy.write(json.slice(0, 0x2fff), 4096);
    copy.fill(0, 448, 512);
    createHash('sha256').update(copy).digest().copy(copy, 448);
  }
  return header;
}

test.each([
  ['what is read', [], {}],
  ['a label', ['--label', 'a label'], { label: 'a label' }],
  ['sectors of 4096 bytes', ['--sector-size', '4096'], { sectorBytes: 4096 }],
  ['a large header', ['--luks2-metadata-size', '4m', '--luks2-keyslots-size', '16m'], { dataOffsetBytes: 24 * MIB }],
  ['another hash', ['--hash', 'sha512'], {}],
  ['another offset', ['--offset', '40960'], { dataOffsetBytes: 20 * MIB }],
  ['AES-128', ['--key-size', '256'], {}],
  [
    'CBC',
    [
      '--cipher',
      'aes-cbc-essiv:sha256',
      '--key-size',
      '256',
      '--keyslot-cipher',
      'aes-xts-plain64',
      '--keyslot-key-size',
      '512',
    ],
    { cipher: 'aes-cbc-essiv:sha256', isSupported: false },
  ],
])('agrees with cryptsetup: %s', async (_, more, expected) => {
  const file = await format('luks2', '--sector-size', '512', ...more);
  const header = await readLuksHeader(read(await readFile(file)));
  const uuid = (await run(['cryptsetup', 'luksUUID', file])).trim();
  expect(header).toMatchObject({
    ...{ uuid, label: '', cipher: 'aes-xts-plain64', sectorBytes: 512, dataOffsetBytes: 16 * MIB, isSupported: true },
    ...{ keySlots: [{ id: 0, keyDerivation: 'pbkdf2', iterations: 1000 }], tokens: [], isSecondCopy: false },
    ...expected,
  });
});

test('another cipher is read, and not supported', async () => {
  const made = await makeHeader();
  const json = JSON.parse(made.toString('utf8', 4096, made.indexOf(0, 4096)));
  json.segments['0'].encryption = 'serpent-xts-plain64';
  const header = await readLuksHeader(read(withJson(made, JSON.stringify(json))));
  expect(header).toMatchObject({ cipher: 'serpent-xts-plain64', isSupported: false });
});

test.each([
  ['reencryption has begun', ['reencrypt', '--init-only'], { keySlots: [{ id: 0 }, { id: 1 }] }],
  [
    'encryption has begun',
    ['reencrypt', '--encrypt', '--init-only', '--type', 'luks2', '--reduce-device-size', '16M'],
    { keySlots: [{ id: 0 }] },
  ],
])('%s: not supported, and the slots that unlock something', async (_, argv, expected) => {
  const file = argv.includes('--encrypt') ? join(await tempDirectory(), 'plain.img') : await format('luks2');
  if (argv.includes('--encrypt')) await writeFile(file, Buffer.alloc(64 * MIB));
  const cheap = ['--key-file', '-', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  await run(['cryptsetup', '--disable-locks', '--batch-mode', ...argv, ...cheap, file], { input: 'x' });
  expect(await readLuksHeader(read(await readFile(file)))).toMatchObject({ isSupported: false, ...expected });
});

test('a checksum or metadata that this project does not know are no damage', async () => {
  const made = await makeHeader();
  const json = JSON.parse(made.toString('utf8', 4096, made.indexOf(0, 4096)));
  delete json.segments['0'];
  expect(await readLuksHeader(read(withJson(made, JSON.stringify(json))))).toBe('not understood');
  const other = Buffer.from(made);
  for (const at of [0, 0x4000]) other.fill(0, at + 72, at + 104).write('whirlpool', at + 72);
  expect(await readLuksHeader(read(other))).toBe('not understood');
});

test('LUKS1 has no such header', async () => {
  expect(await readLuksHeader(read(await readFile(await format('luks1'))))).toBeUndefined();
});

test('one changed byte in a copy is noticed, at any position', async () => {
  const made = await makeHeader();
  // Not in the name of the checksum; and SHA-256 fills half of the field for it.
  const places = fc.integer({ min: 0, max: 0x3fff }).filter((at) => (at < 72 || at >= 104) && (at < 480 || at >= 512));
  await fc.assert(
    fc.asyncProperty(places, fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const bytes = Buffer.from(made);
      bytes[at] = (bytes[at] ?? 0) ^ change;
      expect(await readLuksHeader(read(bytes))).toMatchObject({ isSecondCopy: true });
      bytes[at + 0x4000] = (bytes[at + 0x4000] ?? 0) ^ change;
      expect(await readLuksHeader(read(bytes))).toBeUndefined();
    }),
    { numRuns: 200 },
  );
});

test('any JSON with right checksums is read or refused, and never believed beyond its limits', async () => {
  const made = await makeHeader();
  const original = JSON.parse(made.toString('utf8', 4096, made.indexOf(0, 4096)));
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constant('9'.repeat(400)),
    fc.constant(-1),
    fc.constant(2 ** 60),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom('keyslots', 'tokens', 'segments', 'config'),
      fc.oneof(fc.constant('0'), fc.string()),
      fc.oneof(fc.constant('type'), fc.constant('offset'), fc.constant('sector_size'), fc.constant('kdf'), fc.string()),
      value,
      async (part, id, key, any) => {
        const json = structuredClone(original);
        json[part][id] = { ...json[part][id], [key]: any };
        const header = await readLuksHeader(read(withJson(made, JSON.stringify(json))));
        if (typeof header !== 'object') return;
        expect(header.keySlots.length).toBeLessThanOrEqual(32);
        expect([512, 1024, 2048, 4096]).toContain(header.sectorBytes);
        expect(Number.isSafeInteger(header.dataOffsetBytes)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
  expect(await readLuksHeader(read(withJson(made, '[')))).toBe('not understood');
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [index, original.keyslots[0]]));
  expect(await readLuksHeader(read(withJson(made, JSON.stringify({ ...original, keyslots: many }))))).toBe(
    'not understood',
  );
});
