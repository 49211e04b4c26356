import { constants } from 'node:fs';
import { access, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { requireTool } from '../../lib/tools.ts';
import { builderInitrd } from '../builder-initrd.ts';
import { type BuilderKernel, distributionKernel } from '../builder-kernel.ts';
import { cacheFolder } from '../cache-folder.ts';
import { Console } from '../console/console.ts';
import { makeMachineFolder } from '../machine-folder.ts';
import { consoleArgs, kernelArgs, machineArgs } from './argv.ts';
import { startQemu } from './process.ts';
import { settleWithin } from './qmp.ts';

/** Which accelerator machines use, and why. */
export interface AcceleratorVerdict {
  readonly accelerator: 'kvm' | 'tcg';
  readonly reason: string;
}

const verdictSchema = z.object({ accelerator: z.enum(['kvm', 'tcg']), reason: z.string() });

/** A kernel that works under KVM powers off within a second; one that hangs costs this much, once. */
const PROBE_TIMEOUT_MS = 8000;

let decided: Promise<AcceleratorVerdict> | undefined;

/** Chooses KVM only when a Linux kernel was seen to run under it: a /dev/kvm can exist, open, and hang every kernel.
 *  The verdict is kept for this boot of the host and this QEMU. `NIXOS_DISK_IMAGE_ACCEL=kvm|tcg` overrides it. */
export function chooseAccelerator(signal?: AbortSignal): Promise<AcceleratorVerdict> {
  const forced = process.env.NIXOS_DISK_IMAGE_ACCEL;
  if (forced === 'kvm' || forced === 'tcg')
    return Promise.resolve({ accelerator: forced, reason: 'NIXOS_DISK_IMAGE_ACCEL says so' });
  decided ??= decide(signal).catch((error: unknown) => {
    decided = undefined;
    throw error;
  });
  return decided;
}

async function decide(signal: AbortSignal | undefined): Promise<AcceleratorVerdict> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return { accelerator: 'tcg', reason: '/dev/kvm is not there, or not for this user' };
  }
  const file = await verdictFile();
  const known = verdictSchema.safeParse(JSON.parse(await readFile(file, 'utf8').catch(() => 'null')));
  if (known.success) return known.data;
  const kernel = await distributionKernel().catch(() => undefined);
  // Not kept: there may be one next time.
  if (kernel === undefined) return { accelerator: 'tcg', reason: 'there is no kernel to try KVM with' };
  const verdict = await probe(kernel, signal);
  await mkdir(cacheFolder(), { recursive: true });
  await writeFile(`${file}.${process.pid}`, JSON.stringify(verdict));
  await rename(`${file}.${process.pid}`, file);
  return verdict;
}

/** One file for this boot of the host and this QEMU. */
async function verdictFile(): Promise<string> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const qemu = await stat(await requireTool('chooseAccelerator', 'qemu-system-x86_64'));
  return join(cacheFolder(), `accelerator-${boot.slice(0, 8)}-${qemu.size}-${Math.round(qemu.mtimeMs)}.json`);
}

async function probe(kernel: BuilderKernel, signal: AbortSignal | undefined): Promise<AcceleratorVerdict> {
  const initrd = await builderInitrd(kernel);
  await using folder = await makeMachineFolder();
  const log = join(folder.path, 'console.log');
  const args = [
    ...machineArgs({ type: 'q35', accelerator: 'kvm', memoryMiB: 256, cpus: 1, name: 'probe' }),
    ...consoleArgs(log),
    ...kernelArgs(kernel.kernel, initrd, 'console=ttyS0 panic=-1 agent=probe'),
  ];
  const console = new Console(() => {});
  const qemu = await startQemu(args, (data) => console.feed(data));
  signal?.addEventListener('abort', () => qemu.kill(), { once: true });
  const ended = await settleWithin(qemu.exited, PROBE_TIMEOUT_MS);
  qemu.kill();
  const exit = await qemu.exited;
  const shown = await readFile(log, 'utf8').catch(() => '');
  if (ended && exit.exitCode === 0 && /reboot: Power down/.test(shown))
    return { accelerator: 'kvm', reason: 'a Linux kernel ran and powered off under KVM' };
  const last = (await console.lastLines(2)).join(' ').slice(0, 200) || 'nothing shown';
  return {
    accelerator: 'tcg',
    reason: ended
      ? `no Linux kernel runs under KVM here: ${last}`
      : `a Linux kernel hung under KVM for ${PROBE_TIMEOUT_MS / 1000} s; last shown: ${last}`,
  };
}
