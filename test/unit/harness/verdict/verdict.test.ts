import { expect, test } from 'vitest';
import { FailureWatcher } from '../../../../harness/verdict/failures.ts';
import type { BootStage } from '../../../../harness/verdict/stages.ts';
import { causeOf } from '../../../../harness/verdict/verdict.ts';

/** Returns the cause of a boot that printed these lines, each in its stage, and ended with the last fatal one. */
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

test('an initrd that GRUB did not find is the cause, whether GRUB waits or starts the kernel without it', () => {
  const waits = causeAfter(GRUB);
  expect(waits).toMatchObject({ name: 'grub-error', stage: 'loader' });
  expect(waits.cause).toMatch(/^GRUB cannot boot the entry: error: file .*initrd\.efi' not found/);
  const started = causeAfter([
    ...GRUB,
    ['[    5.900000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', 'kernel'],
  ]);
  expect(started).toMatchObject({ name: 'grub-error', stage: 'loader' });
  expect(started.cause).toMatch(/initrd\.efi' not found.*; then .*Unable to mount root fs/);
});

test('a root that cannot be mounted is the cause, also after a kernel message about data after the initrd', () => {
  // A real boot of Debian 13's unified kernel image: the kernel prints the message for the zeros after the initrd.
  const { name, cause } = causeAfter([
    ['[    4.821152] Initramfs unpacking failed: Decoding failed', 'kernel'],
    [
      '[   51.320690] BTRFS info (device vda3): first mount of filesystem c94d6834-560f-4ecf-ba54-d75a288c4e26',
      'stage 1',
    ],
    [
      '[   51.452907] BTRFS error (device vda3): device total_bytes should be at most 536870912 but found 726663168',
      'stage 1',
    ],
    ['[   51.461036] BTRFS error (device vda3): failed to read chunk tree: -22', 'stage 1'],
    ['[   51.489654] BTRFS error (device vda3): open_ctree failed: -22', 'stage 1'],
    ['[FAILED] Failed to mount sysroot.mount - /sysroot.', 'stage 1'],
    ['Cannot open access to console, the root account is locked.', 'stage 1'],
  ]);
  expect(name).toBe('mount-failed');
  expect(cause).toMatch(/^a filesystem cannot be mounted: BTRFS error .*total_bytes.*; then .*emergency mode/);
});

test('a missing initrd without an earlier failure is the cause', () => {
  expect(
    causeAfter([
      ['[    5.900000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)', 'kernel'],
    ]),
  ).toMatchObject({ name: 'kernel-panic-no-root', stage: 'kernel' });
});
