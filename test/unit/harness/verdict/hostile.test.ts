import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SerialConsole } from '../../../../harness/console/serial-console.ts';
import { BootWatch } from '../../../../harness/machine/boot-watch.ts';
import { questionIn } from '../../../../harness/verdict/questions.ts';

// A hostile guest may send any bytes.

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

test('no bytes throw, in any chunks', async () => {
  const sequence = fc.oneof(
    fc.constantFrom(
      '\u001b[',
      '\u001b]',
      '\u001bP',
      '\u001b_',
      '\u001b^',
      '\u001b#',
      '\u009b',
      '\u001b(',
      '\u001b[?',
      '\u001b[>',
    ),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom('\u0007', '\u001b\\', 'm', 'c', '18t', '6n', '999999999999A', '?1049h', '?7l', 'r', '\u0018'),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(sequence, { maxLength: 200 }), async (pieces) => {
      const console = new SerialConsole(() => {});
      const watch = new BootWatch();
      console.onText((text) => {
        watch.feed(text, 0);
        watch.pause(0);
        questionIn(watch.prompt, false);
        questionIn(watch.lastLine, true);
      });
      for (const piece of pieces) console.feed(Buffer.from(piece, 'utf8'));
      expect(Array.isArray(await console.lastLines(50))).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('a flood uses no memory: its source is paused until the screen has processed it', async () => {
  let paused = false;
  let resume = (): void => {};
  const console = new SerialConsole(() => {}, {
    pause: () => {
      paused = true;
    },
    resume: () => {
      paused = false;
      resume();
    },
  });
  const chunk = bytes(`${'flood '.repeat(20)}\u001b[31m\r\n`.repeat(500));
  const before = process.memoryUsage().heapUsed;
  const total = 32 * 1024 * 1024;
  for (let sent = 0; sent < total; sent += chunk.length) {
    console.feed(chunk);
    if (paused)
      await new Promise<void>((resolve) => {
        resume = resolve;
      });
  }
  expect(console.receivedBytes).toBeGreaterThanOrEqual(total);
  // The console keeps a MiB or two of text and 2000 screen lines.
  expect(console.text.length).toBeLessThan(3 * 1024 * 1024);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(96 * 1024 * 1024);
});

test('answers to terminal queries are few and short', async () => {
  const sent: string[] = [];
  const console = new SerialConsole((text) => sent.push(text));
  console.feed(bytes('\u001b[6n\u001b[c\u001b[>c\u001b[18t\u001b]0;evil\u0007\u001b[21t\u001bP$qm\u001b\\'));
  await console.lastLines(1);
  expect(sent.join('')).not.toMatch(/evil/);
  expect(sent.join('').length).toBeLessThan(200);
});
