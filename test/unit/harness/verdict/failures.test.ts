import { expect, test } from 'vitest';
import {
  FAILURE_PATTERNS,
  FailureWatcher,
  hasGoneOn,
  isHarmless,
  reasonFor,
} from '../../../../harness/verdict/failures.ts';
import type { BootStage } from '../../../../harness/verdict/stages.ts';

/** A line for each pattern, from a real console or from the program's source. */
const SAMPLES: readonly (readonly [name: string, text: string])[] = [
  ['boot-failed', 'Boot failed: not a bootable disk'],
  ['no-bootable-device', 'No bootable device.'],
  ['no-bootable-device', 'This is not a bootable disk.  Please insert a bootable floppy and'],
  ['secure-boot-refused', 'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0): Access Denied'],
  ['uefi-shell', 'UEFI Interactive Shell v2.2'],
  ['uefi-shell', 'Shell> '],
  ['no-boot-option', 'BdsDxe: No bootable option or device was found.'],
  ['grub-message', 'error: ../../grub-core/kern/fs.c:122:unknown filesystem.'],
  ['grub-rescue', 'error: no such partition.\nEntering rescue mode...\ngrub rescue> '],
  ['grub-prompt', 'Minimal BASH-like line editing is supported.\n\ngrub> '],
  ['grub-error', '  Failed to boot both default and fallback entries.'],
  ['grub-error', 'Press any key to continue...'],
  ['grub-disk-error', 'GRUB loading..Read Error'],
  ['loader-entry', 'Error loading \\EFI\\nixos\\kernel.efi: Not Found'],
  ['efi-stub', 'EFI stub: ERROR: Failed to load initrd: 0x8000000000000005'],
  ['syslinux', 'Loading vmlinuz... failed: No such file or directory'],
  ['syslinux-disk-error', 'Missing operating system'],
  ['kernel-halted', 'XZ-compressed data is corrupt\n\n -- System halted'],
  ['halted', '[   11.234866] reboot: System halted'],
  ['initrd-damaged', '[    1.200000] Initramfs unpacking failed: read error'],
  [
    'kernel-panic-no-root',
    '[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
  ],
  [
    'kernel-panic-no-init',
    '[    1.000000] Kernel panic - not syncing: No working init found.  Try passing init= option',
  ],
  ['kernel-panic-init-died', '[    2.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100'],
  ['kernel-panic-memory', '[    2.000000] Kernel panic - not syncing: System is deadlocked on memory'],
  ['kernel-panic', '[    2.000000] Kernel panic - not syncing: Fatal exception in interrupt'],
  ['kernel-oops', '[    3.100000] BUG: kernel NULL pointer dereference, address: 0000000000000000'],
  ['stall', '[   60.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [swapper/0:1]'],
  ['out-of-memory', '[    4.000000] Out of memory: Killed process 312 (nix) total-vm:1kB'],
  ['disk-io-error', '[    1.900000] I/O error, dev vda, sector 2097152 op 0x0:(READ) flags 0x80700'],
  ['gpt-damaged', '[    1.400000] GPT:Alternate GPT header not at the end of the disk.'],
  ['filesystem-not-mountable', "[    1.800000] EXT4-fs (vda2): VFS: Can't find ext4 filesystem"],
  [
    'filesystem-error',
    '[    5.000000] EXT4-fs error (device vda2): ext4_lookup:1855: inode #2: deleted inode referenced',
  ],
  ['root-device-missing', 'Gave up waiting for root file system device.  Common problems:'],
  ['root-device-missing', 'Timed out waiting for device /dev/disk/by-label/nixos, trying to mount anyway.'],
  ['init-not-found', 'stage 2 init script (/mnt-root//nix/store/x/init) not found'],
  ['stage-1-failed', 'An error occurred in stage 1 of the boot process, which must mount the'],
  ['stage-1-shell', 'BusyBox v1.35.0 built-in shell (ash)\n\n(initramfs) '],
  ['activation-failed', "Activation script snippet 'users' failed (1)"],
  ['no-space', "touch: cannot touch '/etc/x': No space left on device"],
  ['read-only', "mkdir: cannot create directory '/var/x': Read-only file system"],
  ['init-froze', 'systemd[1]: Freezing execution.'],
  ['emergency', 'You are in emergency mode. After logging in, type "journalctl -xb"'],
  ['mount-failed', '[FAILED] Failed to mount boot.mount - /boot.'],
  ['device-timeout', '[ TIME ] Timed out waiting for device dev-vdb.device - /dev/vdb.'],
  ['failed-unit', '[FAILED] Failed to start sshd.service - OpenSSH Daemon.'],
];

function watch(text: string, reached?: BootStage): FailureWatcher {
  const watcher = new FailureWatcher();
  const lines = text.split('\n');
  const last = lines.pop() ?? '';
  for (const line of lines) watcher.line(line, 0, reached);
  // The last line may be complete, or unfinished with the cursor after it.
  watcher.line(last, 0, reached, false);
  watcher.line(last, 0, reached);
  return watcher;
}

const seen = (text: string, reached?: BootStage): string[] =>
  watch(text, reached).seen.map(({ pattern }) => pattern.name);

test.each(SAMPLES)('%s', (name, text) => {
  expect(seen(text)).toContain(name);
});

test('every pattern has a sample, and explains only existing names', () => {
  const names = FAILURE_PATTERNS.map(({ name }) => name);
  expect(SAMPLES.map(([name]) => name)).toEqual(names);
  const others = [
    ...['machine-reset', 'hang', 'waits-for-job', 'repeats-itself', 'loader-menu'],
    ...['in-initrd', 'root-full', 'read-only-root'],
  ];
  for (const { explains = [] } of FAILURE_PATTERNS)
    for (const name of explains) expect([...names, ...others]).toContain(name);
});

test.each(SAMPLES)('after the start of init it is an error only if the kernel prints it: %s', (name, text) => {
  const serious = watch(text, 'login').seen.filter(({ pattern }) => pattern.severity !== 'warning');
  for (const { pattern } of serious) expect(['kernel', 'init'], name).toContain(pattern.by);
});

test('a panic counts once, with any text before it in its line', () => {
  const watcher = new FailureWatcher();
  watcher.line('demo login: [   99.123456][    T1] Kernel panic - not syncing: Attempted to kill init!', 2, 'init');
  watcher.line('[   99.200000] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---', 3, 'init');
  watcher.line('[   99.300000] Kernel panic - not syncing: x', 4, 'init');
  expect(watcher.seen.map(({ pattern, atMs }) => [pattern.name, atMs])).toEqual([['kernel-panic-init-died', 2]]);
});

test('if the kernel prints time stamps, a line without one is not from the kernel', () => {
  expect(seen('[    0.000000] Linux version 6.1\nKernel panic - not syncing: says a unit', 'init')).toEqual([]);
  expect(seen('Kernel panic - not syncing: VFS: Unable to mount root fs', 'kernel')).toEqual(['kernel-panic-no-root']);
});

test('the reason is a failure that was seen before its consequence', () => {
  const watcher = watch(
    '[    1.200000] Initramfs unpacking failed: read error\n[    1.500000] Kernel panic - not syncing: VFS: Unable to mount root fs',
  );
  expect(watcher.seen.at(-1)?.pattern.name).toBe('kernel-panic-no-root');
  expect(reasonFor('kernel-panic-no-root', watcher.seen)?.pattern.name).toBe('initrd-damaged');
});

test('a loader’s failure is over once a kernel runs; a panic is over once a later stage follows', () => {
  const [grub] = watch('Press any key to continue...', 'loader').seen;
  expect(grub && hasGoneOn(grub, 'loader')).toBe(false);
  expect(grub && hasGoneOn(grub, 'kernel')).toBe(true);
  const [panic] = watch('[    1.000000] Kernel panic - not syncing: x', 'stage 1').seen;
  expect(panic && hasGoneOn(panic, 'stage 1')).toBe(false);
  expect(panic && hasGoneOn(panic, 'init')).toBe(true);
});

/** Lines from healthy systems that look like failures. */
test.each([
  ['init', '[FAILED] Failed to start systemd-modules-load.service - Load Kernel Modules.'],
  ['init', 'Failed to start Docker image cleanup.'],
  ['init', 'Error opening /dev/sr0: No medium found'],
  ['init', 'Error reading configuration'],
  ['init', 'mongo Shell> '],
  ['init', 'Boot failed: 3 times before, says a monitor'],
  ['init', 'error: no such device: /dev/sdq'],
  ['init', 'grub> is a prompt'],
  ['init', 'lzma: decoder error in a log'],
  ['login', 'touch: cannot touch "/quota/x": No space left on device'],
  ['login', 'mkdir: cannot create directory "/proc/x": Read-only file system'],
  ['init', '[ TIME ] Timed out waiting for device dev-vdb.device - /dev/vdb.'],
  ['init', '[DEPEND] Dependency failed for swap.target - Swaps.'],
  ['kernel', "[    1.800000] EXT4-fs (vda1): VFS: Can't find ext4 filesystem"],
  ['kernel', '[    1.900000] Initramfs unpacking failed: Decoding failed'],
  ['loader', 'error: no suitable video mode found.'],
  ['firmware', 'BdsDxe: failed to load Boot0001 "UEFI PXEv4" from PciRoot(0x0)/Pci(0x3,0x0): Not Found'],
  ['init', 'motd: what to do when you see "Kernel panic - not syncing: x"'],
  ['kernel', '[    0.100000] Command line: quiet panic=10 # Out of memory: Killed process'],
] as const)('no failure in stage %s: %s', (reached, text) => {
  const serious = watch(text, reached).seen.filter(({ pattern }) => pattern.severity !== 'warning');
  expect(serious.map(({ pattern }) => pattern.name)).toEqual([]);
});

test('a guest that prints the same line endlessly uses no more memory', () => {
  const watcher = new FailureWatcher();
  for (let round = 0; round < 1000; round += 1)
    for (const [, text] of SAMPLES) for (const line of text.split('\n')) watcher.line(line, round, undefined);
  expect(watcher.seen.length).toBeLessThanOrEqual(60);
});

test.each([
  ['[   51.489654] BTRFS error (device vda3): open_ctree failed: -22', 'vda3'],
  ['[   51.489654] BTRFS error (device vda3: state C): open_ctree failed', 'vda3'],
  ['[    1.800000] XFS (vda3): last sector read failed', 'vda3'],
  ["[    1.800000] SQUASHFS error: Can't find a SQUASHFS superblock on vda3", undefined],
  ['[    1.800000] erofs: (device vda3): cannot find valid erofs superblock', 'vda3'],
  ['[    1.800000] F2FS-fs (vda3): Magic Mismatch, valid(0xf2f52010) - read(0x0)', 'vda3'],
  ['[    1.800000] FAT-fs (vda1): bogus number of reserved sectors', 'vda1'],
])('a filesystem that the kernel cannot mount: %s', (line, device) => {
  const watcher = new FailureWatcher();
  watcher.line(line, 1, 'stage 1');
  expect(watcher.seen).toMatchObject([{ pattern: { name: 'filesystem-not-mountable' }, device }]);
});

test('zeros after an initrd are harmless if the system starts, and a reason if it does not', () => {
  const watcher = new FailureWatcher();
  watcher.line('[    4.821152] Initramfs unpacking failed: Decoding failed', 1, 'kernel');
  const [seen] = watcher.seen;
  expect(seen && isHarmless(seen, 'stage 1')).toBe(false);
  expect(seen && isHarmless(seen, 'init')).toBe(true);
});
