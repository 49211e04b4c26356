import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SerialConsole } from '../../../../harness/console/serial-console.ts';
import { BootWatch } from '../../../../harness/machine/boot-watch.ts';
import { asksForLogin, questionIn } from '../../../../harness/verdict/questions.ts';
import type { BootStage } from '../../../../harness/verdict/stages.ts';

// Serial consoles of images from other builders, from the firmware to the power-off. All are good boots.

const RECORDS = join(import.meta.dirname, '../../../fixtures/healthy-boots');

interface Row {
  readonly stages: readonly BootStage[];
  /** The questions in order: "login", or the name of a question that must be answered. */
  readonly asks: readonly string[];
}

const ALL = ['firmware', 'loader', 'kernel', 'stage 1', 'stage 2', 'init'] as const;
/** Busybox's init prints nothing when it starts. */
const TINY = ['firmware', 'loader', 'kernel', 'stage 1'] as const;

/** A quiet kernel prints nothing until it powers off. */
const QUIET = ['firmware', 'loader', 'kernel'] as const;

const ROWS: Readonly<Record<string, Row>> = {
  'busybox-grub-bios': { stages: TINY, asks: ['login', 'asks-for-password'] },
  'busybox-grub-efi': { stages: TINY, asks: ['login', 'asks-for-password'] },
  'busybox-grub-menu-bios': { stages: QUIET, asks: ['login', 'asks-for-password'] },
  'busybox-grub-menu-efi': { stages: QUIET, asks: ['login', 'asks-for-password'] },
  'busybox-systemd-boot': { stages: TINY, asks: ['login', 'asks-for-password'] },
  'busybox-uki': { stages: TINY, asks: ['login', 'asks-for-password'] },
  'busybox-uki-systemd-boot': { stages: QUIET, asks: ['login', 'asks-for-password'] },
  'busybox-syslinux': { stages: TINY, asks: ['console-wants-enter'] },
  'debian-12-luks': { stages: ALL, asks: ['asks-for-passphrase', 'login', 'asks-for-password'] },
  'debian-12-openrc': { stages: ALL, asks: ['login', 'asks-for-password'] },
  'debian-12-quiet-german': { stages: QUIET, asks: ['login', 'asks-for-password'] },
  'debian-13-luks-japanese': { stages: ALL, asks: ['asks-for-passphrase', 'login', 'asks-for-password'] },
  'debian-13-systemd-boot': { stages: ALL, asks: ['login', 'asks-for-password'] },
  'debian-12-bios': { stages: ALL, asks: ['login', 'asks-for-password'] },
  'debian-12-sysvinit': {
    stages: ALL,
    // A user logs in and out, then root logs in.
    asks: ['login', 'asks-for-password', 'login', 'asks-for-password'],
  },
};

test('every record has a row, and every row has a record', () => {
  const records = readdirSync(RECORDS).map((file) => file.replace(/\.txt$/, ''));
  expect(records.sort()).toEqual(Object.keys(ROWS).sort());
});

test.each(Object.entries(ROWS))('%s: no failure, and each stage is seen', (name, { stages, asks }) => {
  const { watch, asked } = replay(readFileSync(join(RECORDS, `${name}.txt`)));
  const bad = watch.failures.filter(({ pattern }) => pattern.severity === 'error' || pattern.severity === 'fatal');
  expect(bad.map(({ pattern, line }) => `${pattern.name}: ${line}`)).toEqual([]);
  expect(watch.stages.seen.map(({ stage }) => stage)).toEqual(stages);
  expect(asked).toEqual(asks);
});

/** Feeds a record in pieces that end where the guest may have waited: after each line, and after any text that looks like a
 *  question. */
function replay(record: Uint8Array): { watch: BootWatch; asked: string[] } {
  const watch = new BootWatch();
  const console = new SerialConsole(() => {});
  const asked: string[] = [];
  let piece = 0;
  console.onText((text) => watch.feed(text, piece));
  for (const part of Buffer.from(record)
    .toString('latin1')
    .split(/(?<=[\n:?>#$] ?)/)) {
    piece += 1;
    const lines = watch.lineCount;
    console.feed(Buffer.from(part, 'latin1'));
    watch.pause(piece);
    const question =
      watch.prompt === '' && watch.lineCount > lines
        ? questionIn(watch.lastLine, true)
        : questionIn(watch.prompt, false);
    const name = asksForLogin(watch.prompt) ? 'login' : question?.name;
    if (name !== undefined && name !== 'asks-a-question' && asked.at(-1) !== name) asked.push(name);
  }
  return { watch, asked };
}
