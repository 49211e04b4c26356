import { expect, test } from 'vitest';
import { FAILURE_PATTERNS, FailureWatcher, reasonFor } from '../../../../harness/verdict/failures.ts';

/** What each pattern's program prints, as it was seen or stands in its source. */
const SAMPLES: readonly (readonly [name: string, text: string])[] = [
  ['no-bootable-device', 'Booting from Hard Disk...\nBoot failed: not a bootable disk\n\nNo bootable device.'],
  ['secure-boot-refused', 'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0): Access Denied'],
  ['uefi-shell', 'UEFI Interactive Shell v2.2'],
  ['no-boot-option', 'BdsDxe: No bootable option or device was found.'],
  ['grub-rescue', 'error: no such partition.\nEntering rescue mode...\ngrub rescue> '],
  ['grub-prompt', 'Minimal BASH-like line editing is supported.\n\ngrub> '],
  [
    'grub-error',
    "error: file `/vmlinuz' not found.\nerror: you need to load the kernel first.\n\nPress any key to continue...",
  ],
  ['grub-disk-error', 'GRUB loading.\nGeom Error'],
  ['grub-decompression', 'GRUB loading..\nlzma: corrupted'],
  ['loader-entry', 'Error loading \\EFI\\nixos\\kernel.efi: Not Found'],
  ['efi-stub', 'EFI stub: ERROR: Failed to load initrd: 0x8000000000000005'],
  ['syslinux', 'Failed to load ldlinux.c32'],
  ['kernel-halted', 'XZ-compressed data is corrupt\n\n -- System halted'],
  ['initrd-damaged', '[    1.2] Initramfs unpacking failed: read error'],
  ['kernel-panic-no-root', '[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'],
  ['kernel-panic-no-init', '[    1.0] Kernel panic - not syncing: No working init found.  Try passing init= option'],
  ['kernel-panic-init-died', '[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100'],
  ['kernel-panic-memory', '[    2.0] Kernel panic - not syncing: System is deadlocked on memory'],
  ['kernel-panic', '[    2.0] Kernel panic - not syncing: Fatal exception in interrupt'],
  ['kernel-oops', '[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000000'],
  ['stall', '[   60.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [swapper/0:1]'],
  ['out-of-memory', '[    4.0] Out of memory: Killed process 312 (nix) total-vm:1kB'],
  ['disk-io-error', '[    1.9] I/O error, dev vda, sector 2097152 op 0x0:(READ) flags 0x80700'],
  ['gpt-damaged', '[    1.4] GPT:Alternate GPT header not at the end of the disk.'],
  ['filesystem-not-mountable', "[    1.8] EXT4-fs (vda2): VFS: Can't find ext4 filesystem"],
  ['filesystem-error', '[    5.0] EXT4-fs error (device vda2): ext4_lookup:1855: inode #2: deleted inode referenced'],
  ['root-device-missing', 'Timed out waiting for device /dev/disk/by-label/nixos, trying to mount anyway.'],
  ['init-not-found', 'stage 2 init script (/mnt-root//nix/store/x/init) not found'],
  ['stage-1-failed', 'An error occurred in stage 1 of the boot process, which must mount the'],
  ['stage-1-shell', 'BusyBox v1.35.0 built-in shell (ash)\n\n(initramfs) '],
  ['activation-failed', "Activation script snippet 'users' failed (1)"],
  ['no-space', "touch: cannot touch '/etc/x': No space left on device"],
  ['read-only-root', "mkdir: cannot create directory '/var/x': Read-only file system"],
  ['init-froze', 'systemd[1]: Freezing execution.'],
  ['emergency', 'You are in emergency mode. After logging in, type "journalctl -xb"'],
  ['mount-failed', '[FAILED] Failed to mount boot.mount - /boot.'],
  ['device-timeout', '[ TIME ] Timed out waiting for device dev-vdb.device - /dev/vdb.'],
  ['failed-unit', '[FAILED] Failed to start sshd.service - OpenSSH Daemon.'],
];

function seen(text: string): string[] {
  const watcher = new FailureWatcher();
  watcher.feed(`${text}\n`, 0);
  return watcher.seen.map(({ pattern }) => pattern.name);
}

test.each(SAMPLES)('%s', (name, text) => {
  expect(seen(text)).toContain(name);
});

test('every pattern has a sample, and explains only what there is', () => {
  const names = FAILURE_PATTERNS.map(({ name }) => name);
  expect(SAMPLES.map(([name]) => name)).toEqual(names);
  const others = ['machine-reset', 'hang'];
  for (const { explains = [] } of FAILURE_PATTERNS)
    for (const name of explains) expect([...names, ...others]).toContain(name);
});

test('a failure is seen in the piece that completes it, and once', () => {
  const watcher = new FailureWatcher();
  watcher.feed('...\nKernel panic - not syn', 1);
  expect(watcher.fatal).toBeUndefined();
  watcher.feed('cing: Attempted to kill init! exitcode=0x100\n', 2);
  watcher.feed('Kernel panic - not syncing: Attempted to kill init!\n', 3);
  expect(watcher.seen.map(({ pattern, atMs }) => [pattern.name, atMs])).toEqual([['kernel-panic-init-died', 2]]);
});

test('the reason is what was seen before the consequence', () => {
  const watcher = new FailureWatcher();
  watcher.feed(
    '[ 1.2] Initramfs unpacking failed: read error\n[ 1.5] Kernel panic - not syncing: VFS: Unable to mount root fs\n',
    1,
  );
  expect(watcher.fatal?.pattern.name).toBe('kernel-panic-no-root');
  expect(reasonFor('kernel-panic-no-root', watcher.seen)?.pattern.name).toBe('initrd-damaged');
});

test.each([
  'error: no such device: /grub/grub.cfg.\n  Booting',
  'error: no suitable video mode found.\nBooting in blind mode\n',
  // Somebody who only speaks of one.
  'motd: what to do when you see "Kernel panic - not syncing: x"',
  '[    0.1] Command line: quiet panic=10 # Out of memory: Killed process',
  'demo login: ',
])('nothing is wrong: %s', (text) => {
  expect(seen(text)).toEqual([]);
});

test('a guest that shows the same for ever takes no memory', () => {
  const watcher = new FailureWatcher();
  for (let round = 0; round < 1000; round += 1) watcher.feed(`${SAMPLES.map(([, text]) => text).join('\n')}\n`, round);
  expect(watcher.seen.length).toBeLessThanOrEqual(40);
});
