import type { BootReport } from '../../harness/verify/boot-report.ts';

/** A boot in which everything held. */
export const goodReport: BootReport = {
  ...{ image: 'images/nixos.img', firmware: 'bios', architecture: 'x86_64', accelerator: 'tcg', ok: true },
  ...{ timeline: [{ stage: 'login', atMs: 8000 }], stageReached: 'login', checks: [], failure: undefined },
  ...{ ignored: [], warnings: [], typed: [], reboots: 0, cleanShutdown: true, durationMs: 9500, waitedMs: 0 },
  ...{ qemuVersion: '7.2', qemuArgv: ['qemu-system-x86_64'], console: ['demo login:'], screenshot: undefined },
};

export const badReport: BootReport = { ...goodReport, firmware: 'efi', ok: false, cleanShutdown: false };
