import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import type { Machine } from '../../../harness/machine/machine.ts';
import { type BootCheck, commandCheck, equalCheck } from '../../../harness/verify/checks.ts';
import { smallGuest } from '../../helpers/small-guest/small-guest.ts';
import { testVerdicts, type VerdictCase } from './verdict-case.ts';
import { SYSVINIT } from './words.ts';

// Answers survive noise, take linear time and bounded memory, and no command blocks the next one.

const answers = equalCheck('a shell answers', 'echo $((6 * 7))', '42');
const NOISE = `(while :; do echo "[  OK  ] Finished noise-$$.service - Noise."; usleep 50000; done > /dev/ttyS0) &
  (while :; do echo '<4>noise: link is up' > /dev/kmsg; sleep 1; done) &`;
const ODD = 'long and "odd" $HOME \\ ';
const numbers = (count: number): string => Array.from({ length: count }, (_, index) => `${index + 1}`).join('\n');

const withMachine = (name: string, run: (machine: Machine) => Promise<void>): BootCheck => ({
  name,
  run: async (machine) => {
    await run(machine);
    return undefined;
  },
});

const CASES: readonly VerdictCase[] = [
  {
    boot: 'a program and the kernel write to the console while checks run',
    guest: { stage2: SYSVINIT },
    options: {
      checks: [
        commandCheck(NOISE),
        answers,
        equalCheck('lines', 'seq 1 3000', numbers(3000)),
        withMachine('a status, and output without a final newline', async (machine) => {
          expect(await machine.execute('printf "a\\tb"; exit 7')).toEqual({ exitCode: 7, output: 'a\tb' });
        }),
        equalCheck('a long command', `printf %s '${ODD.repeat(200)}' | wc -c`, `${ODD.length * 200}`),
      ],
    },
    verdict: 'good',
  },
  {
    boot: 'the console is noisy before the login',
    slow: true,
    guest: {
      stage2: `${SYSVINIT}\n(while :; do echo '[  OK  ] Started session-1.scope - Session 1 of User root.'; sleep 3; done > /dev/ttyS0) &`,
    },
    options: { checks: [answers] },
    verdict: 'good',
  },
  {
    boot: 'a command does not wait for the output of daemons that it starts',
    guest: { stage2: SYSVINIT },
    options: {
      checks: [
        withMachine('a daemon', async (machine) => {
          expect(await machine.succeed('sleep 1000 &')).toBe('');
          expect(await machine.succeed('(while :; do echo still here; sleep 1; done) & echo started')).toMatch(
            /^started\b/,
          );
        }),
        answers,
      ],
    },
    verdict: 'good',
  },
  {
    boot: 'a check does not end, and the next ones still run',
    guest: { stage2: SYSVINIT },
    options: {
      commandTimeoutMs: 15_000,
      checks: [commandCheck('sleep 1000'), answers, commandCheck('trap "" INT; sleep 1000'), answers],
    },
    verdict: { name: 'check-failed', stage: 'checks', cause: /sleep 1000/ },
    also: ({ checks }) => expect(checks.map(({ ok }) => ok)).toEqual([false, true, false, true]),
  },
  {
    boot: 'a check reads from the console',
    slow: true,
    guest: { stage2: SYSVINIT },
    options: { checks: [equalCheck('nobody types', 'cat; echo end', 'end'), answers] },
    verdict: 'good',
  },
  {
    boot: 'a check ends its shell',
    guest: { stage2: SYSVINIT },
    options: {
      checks: [
        withMachine('exit', async (machine) => expect((await machine.execute('exit 3')).exitCode).toBe(3)),
        answers,
      ],
    },
    verdict: 'good',
  },
  {
    boot: '1.5 MB of output',
    guest: { stage2: SYSVINIT },
    options: {
      checks: [
        withMachine('it arrives complete', async (machine) => {
          const output = await machine.succeed('seq -w 1 200000');
          expect(output).toHaveLength(200_000 * 7 - 1);
          expect(output.slice(-14)).toBe('\n199999\n200000');
        }),
        answers,
      ],
    },
    verdict: 'good',
  },
  {
    boot: '100 MB of output',
    guest: { stage2: SYSVINIT },
    options: { checks: [commandCheck('yes "a line of twenty-seven bytes" | head -c 100000000'), answers] },
    verdict: { name: 'check-failed', stage: 'checks', cause: /MB|MiB|bytes|large|output/ },
    also: ({ checks }) => expect(checks[1]?.ok).toBe(true),
  },
];

testVerdicts(CASES);

/** A process and its descendants. */
async function family(pid: number): Promise<number[]> {
  const parents = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map(async (name) => {
        const status = await readFile(join('/proc', name, 'status'), 'utf8').catch(() => '');
        return { pid: Number(name), parent: Number(/^PPid:\s+(\d+)$/m.exec(status)?.[1]) };
      }),
  );
  const found = [pid];
  for (const each of found) found.push(...parents.filter(({ parent }) => parent === each).map((child) => child.pid));
  return found;
}

test('a boot whose Node and QEMU are stopped together for 25 s continues unaffected', async () => {
  const { image, firmware } = await smallGuest({ firmware: 'bios', stage2: SYSVINIT });
  const child = spawn(
    process.execPath,
    [packageFile('dist/cli/main.js'), 'verify', image, '--firmware', firmware === 'bios' ? 'bios' : '', '--json'],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const output: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => output.push(data));
  await new Promise<void>((resolve) => {
    child.stderr.on('data', (text: Buffer) => /kernel/.test(text.toString()) && resolve());
  });
  const all = await family(child.pid ?? 0);
  expect(all.length).toBeGreaterThan(1);
  // QEMU first, so that Node does not notice, as with a container's freezer, which stops all at once.
  for (const pid of all.reverse()) process.kill(pid, 'SIGSTOP');
  // The pause is the subject of the test: longer than a guest may be idle in its kernel.
  await delay(25_000);
  for (const pid of all) process.kill(pid, 'SIGCONT');
  const code = await new Promise((resolve) => child.once('exit', resolve));
  expect(code, Buffer.concat(output).toString('utf8')).toBe(0);
});
