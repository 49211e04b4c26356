import { expect, test } from 'vitest';
import { FailureWatcher } from '../../../../harness/verdict/failures.ts';
import type { BootStage } from '../../../../harness/verdict/stages.ts';
import { causeOf } from '../../../../harness/verdict/verdict.ts';

/** The cause of a boot that printed lines, each in its stage, and ended with the last one that is fatal. */
function causeAfter(lines: readonly (readonly [line: string, reached: BootStage])[]) {
  const watcher = new FailureWatcher();
  for (const [index, [line, reached]] of lines.entries()) watcher.line(line, index, reached);
  const fatal = watcher.seen.findLast(({ pattern }) => pattern.severity === 'fatal');
  if (fatal === undefined) throw new Error('nothing fatal');
  return causeOf(
    { how: 'fatal', fatal },
    {
      ...{
        stage: lines.at(-1)?.[1],
        screenStage: undefined,
        failures: watcher.seen,
        repeated: undefined,
        job: undefined,
      },
      ...{ unconfirmedPrompt: undefined, serialPort: 'ttyS0', serialConsole: true, recent: '', lastByteMs: 9 },
    },
  );
}

const GRUB: readonly (readonly [string, BootStage])[] = [
  ["error: file `/EFI/nixos/initrd.efi' not found.", 'loader'],
  ['Press any key to continue...', 'loader'],
];

test('an initrd that GRUB did not find is the cause, whether GRUB still waits or has started the kernel without it', () => {
  const waits = causeAfter(GRUB);
  expect(waits).toMatchObject({ name: 'grub-error', stage: 'loader' });
  expect(waits.cause).toMatch(/^GRUB cannot load the system: error: file .*initrd\.efi' not found/);
  const started = causeAfter([
    ...GRUB,
    ['[    5.900000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', 'kernel'],
  ]);
  expect(started).toMatchObject({ name: 'grub-error', stage: 'loader' });
  expect(started.cause).toMatch(/initrd\.efi' not found.*; then .*Unable to mount root fs/);
});

test('a kernel without an initrd alone is the cause itself', () => {
  expect(
    causeAfter([
      ['[    5.900000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', 'kernel'],
    ]),
  ).toMatchObject({ name: 'kernel-panic-no-root', stage: 'kernel' });
});
