import { readFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import { PNG } from 'pngjs';
import { packageFile } from '../../harness/cache-directory.ts';
import type { BootReport } from '../../harness/verify/boot-report.ts';

/** The console of a real boot, as lines without what a terminal obeys. */
export function healthyConsole(name: string): string[] {
  const record = readFileSync(packageFile(`test/fixtures/healthy-boots/${name}.txt`), 'utf8');
  return stripVTControlCharacters(record)
    .split(/[\r\n]+/)
    .filter((line) => line.trim() !== '');
}

/** A screen of 720 by 400 that is black but for a white rectangle. */
export function screenWith(left: number, top: number, width: number, height: number): string {
  const png = new PNG({ width: 720, height: 400 });
  for (let index = 0; index < 720 * 400; index += 1) {
    const [x, y] = [index % 720, Math.floor(index / 720)];
    const isWhite = x >= left && x < left + width && y >= top && y < top + height;
    png.data.writeUInt32BE(isWhite ? 0xff_ff_ff_ff : 0x00_00_00_ff, index * 4);
  }
  return PNG.sync.write(png).toString('base64');
}

export const GOOD_BOOT: BootReport = {
  ...{ image: 'images/nixos.img', firmware: 'bios', architecture: 'x86_64', accelerator: 'tcg', ok: true },
  timeline: [
    { stage: 'firmware', atMs: 120 },
    { stage: 'loader', atMs: 300 },
    { stage: 'kernel', atMs: 2500 },
    { stage: 'stage 1', atMs: 4400 },
    { stage: 'init', atMs: 5300 },
    { stage: 'login', atMs: 8000 },
  ],
  stageReached: 'login',
  kernelTimes: { startedAtMs: 2400, userspaceMs: 1900 },
  systemdTimes: { firmwareMs: 1100, loaderMs: 900, kernelMs: 1900, initrdMs: 900, userspaceMs: 2100 },
  checks: [{ name: 'firmware mode', ok: true, message: 'no efi', durationMs: 200 }],
  ...{ failure: undefined, ignored: [], warnings: ['a warning'], reboots: 0, cleanShutdown: true },
  typed: [{ keys: '\n', line: 'demo login: ', atMs: 8000, why: 'to see whether the login prompt reappears' }],
  ...{ durationMs: 9500, waitedMs: 0, qemuVersion: '7.2', qemuArgv: ['qemu-system-x86_64', '-name', 'guest=x'] },
  ...{ console: healthyConsole('debian-12-bios'), logFile: 'console-bios.log' },
  screenshot: screenWith(40, 20, 200, 60),
};

// What a guest printed: it must stay text, in every place.
export const HOSTILE =
  '</pre></style></script><script>document.title = "owned"</script><img src=x onerror="document.title=1"> ]]> & "\u0000\u001b[31m\u202e';

export const PANIC = '[    6.000000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)';

/** The end of a boot in the kernel, of an image that says hostile things in every place. */
export const BAD_BOOT: BootReport = {
  ...GOOD_BOOT,
  ...{ image: `evil ${HOSTILE}`, firmware: 'efi', ok: false, screenshot: undefined, cleanShutdown: false },
  timeline: GOOD_BOOT.timeline.slice(0, 3),
  ...{ stageReached: 'kernel', systemdTimes: undefined, logFile: undefined },
  console: [
    ...healthyConsole('busybox-grub-efi').slice(0, 384),
    HOSTILE,
    PANIC,
    '[    6.000001] CPU: 0 PID: 1 Comm: swapper/0',
  ],
  checks: [{ name: HOSTILE, ok: false, message: HOSTILE, durationMs: 1 }],
  ...{ warnings: [HOSTILE], ignored: [{ code: HOSTILE, message: HOSTILE }] },
  typed: [{ keys: HOSTILE, line: HOSTILE, atMs: 1, why: HOSTILE }],
  ...{ qemuVersion: HOSTILE, qemuArgv: [HOSTILE] },
  failure: {
    ...{ name: 'kernel-panic-no-root', stage: 'kernel', lastLines: [HOSTILE], line: PANIC },
    cause: `the kernel has no initrd that it can use: ${PANIC}; ${HOSTILE}`,
  },
};

/** A boot without details, good and bad. */
export const goodReport: BootReport = {
  ...GOOD_BOOT,
  ...{ kernelTimes: undefined, systemdTimes: undefined, logFile: undefined, screenshot: undefined },
  ...{ timeline: [{ stage: 'login', atMs: 8000 }], checks: [], warnings: [], typed: [], console: ['demo login:'] },
};
export const badReport: BootReport = { ...goodReport, firmware: 'efi', ok: false, cleanShutdown: false };
