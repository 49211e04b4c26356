import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeAnswer, ENCODERS, posixCksum, printfLiteral } from '../../../../harness/machine/guest-encoding.ts';

test('any bytes survive printf, in pieces that a terminal accepts', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const lines = printfLiteral(bytes, 50);
      for (const line of lines) expect(line).toMatch(/^[\x20-\x7e]{0,50}$/);
      const said = execFileSync('sh', ['-c', lines.map((line) => `printf '${line}'`).join('; ')]);
      expect(Buffer.compare(said, Buffer.from(bytes))).toBe(0);
    }),
    { numRuns: 40 },
  );
});

test('the checksum is that of cksum(1)', () => {
  for (const text of ['', 'hello\n', 'x'.repeat(70_000)]) {
    const [found] = execFileSync('cksum', { input: text }).toString().split(' ');
    expect(posixCksum(Buffer.from(text))).toBe(Number(found));
  }
});

test('lines from other programs within an answer are skipped', () => {
  const base64 = ENCODERS.find(({ program }) => program === 'base64');
  const od = ENCODERS.find(({ program }) => program === 'od');
  if (base64 === undefined || od === undefined) throw new Error('an encoder is missing');
  const noise = ['[   12.345678] random: crng init done', 'Broadcast message from root@small:', ''];
  expect(decodeAnswer(base64, [noise[0] ?? '', 'aGVsbG8g', noise[1] ?? '', 'd29ybGQ=']).toString()).toBe('hello world');
  expect(decodeAnswer(od, [' 68 65 6c 6c 6f', noise[2] ?? '', ' 0a']).toString()).toBe('hello\n');
});
