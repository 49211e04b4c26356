import { constants } from 'node:fs';
import { access, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { requireTool } from '../../lib/run/tools.ts';
import { cacheDirectory, readCachedJson, writeCachedJson } from '../cache-directory.ts';
import { SerialConsole } from '../console/serial-console.ts';
import { consoleArgs, kernelArgs, machineArgs } from '../qemu/argv.ts';
import { makeMachineDirectory } from '../qemu/machine-directory.ts';
import { startQemu } from '../qemu/process.ts';
import { processTimes } from '../qemu/process-times.ts';
import { settleWithin } from '../qemu/qmp.ts';
import { builderInitrd } from './builder-initrd.ts';
import { type BuilderKernel, distributionKernel } from './builder-kernel.ts';

/** The accelerator that machines use, and why. */
export interface AcceleratorVerdict {
  readonly accelerator: 'kvm' | 'tcg';
  readonly reason: string;
  /** How many times slower an emulated machine is on this host than on the reference host of the time limits; 1 or more. */
  readonly slowness: number;
}

const verdictSchema = z.object({
  accelerator: z.enum(['kvm', 'tcg']),
  reason: z.string(),
  slowness: z.number().min(1).max(100),
});

/** The CPU time of the probe under TCG on the reference host of the time limits. */
const REFERENCE_MS = 4000;

/** The time limit of the probe under KVM; a kernel that works powers off within a second. */
const PROBE_TIMEOUT_MS = 8000;

let decided: Promise<AcceleratorVerdict> | undefined;

/** Chooses KVM only if a Linux kernel runs under it: /dev/kvm may exist and open, and still hang every kernel. The result is cached
 *  for this boot of the host and this QEMU. `NIXOS_DISK_IMAGE_ACCEL=kvm|tcg` overrides it. */
export function chooseAccelerator(signal?: AbortSignal): Promise<AcceleratorVerdict> {
  const forced = process.env.NIXOS_DISK_IMAGE_ACCEL;
  if (forced === 'kvm' || forced === 'tcg')
    return Promise.resolve({ accelerator: forced, reason: 'set by NIXOS_DISK_IMAGE_ACCEL', slowness: 1 });
  decided ??= decide(signal).catch((error: unknown) => {
    decided = undefined;
    throw error;
  });
  return decided;
}

/** Returns the requested accelerator, or the one from chooseAccelerator. */
export async function accelerate(
  wanted: 'kvm' | 'tcg' | undefined,
  signal?: AbortSignal,
): Promise<Pick<AcceleratorVerdict, 'accelerator' | 'slowness'>> {
  const chosen = await chooseAccelerator(signal);
  if (wanted === undefined || wanted === chosen.accelerator) return chosen;
  return { accelerator: wanted, slowness: wanted === 'kvm' ? 1 : chosen.slowness };
}

async function decide(signal: AbortSignal | undefined): Promise<AcceleratorVerdict> {
  const mayUse = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  const file = await verdictFile(mayUse);
  const known = await readCachedJson(file, verdictSchema);
  if (known !== undefined) return known;
  const kernel = await distributionKernel().catch(() => undefined);
  // Not cached: there may be a kernel next time.
  if (kernel === undefined) return { accelerator: 'tcg', reason: 'there is no kernel to test KVM with', slowness: 1 };
  const kvm = mayUse ? await probe('kvm', kernel, PROBE_TIMEOUT_MS, signal) : undefined;
  const tcg = kvm?.ran === true ? undefined : await probe('tcg', kernel, 10 * PROBE_TIMEOUT_MS, signal);
  const reason = kvm?.what ?? '/dev/kvm does not exist, or this user may not use it';
  const verdict: AcceleratorVerdict = {
    accelerator: kvm?.ran === true ? 'kvm' : 'tcg',
    reason,
    slowness: Math.min(100, Math.max(1, (tcg?.computedMs ?? 0) / REFERENCE_MS)),
  };
  // The result is valid even if it cannot be cached.
  await writeCachedJson(file, verdict).catch(() => undefined);
  return verdict;
}

/** Returns the cache file for this boot of the host, this QEMU, and whether the user may use KVM. */
async function verdictFile(mayUseKvm: boolean): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown');
  const qemu = await stat(await requireTool('chooseAccelerator', 'qemu-system-x86_64'));
  return join(
    cacheDirectory(),
    `accelerator-${boot.slice(0, 8)}-${qemu.size}-${Math.round(qemu.mtimeMs)}-${mayUseKvm ? 'kvm' : 'no-kvm'}.json`,
  );
}

interface Probed {
  /** Whether the kernel ran and powered off. */
  readonly ran: boolean;
  readonly what: string;
  /** CPU time of QEMU. */
  readonly computedMs: number;
}

/** Boots a kernel that powers off immediately. */
async function probe(
  accelerator: 'kvm' | 'tcg',
  kernel: BuilderKernel,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Probed> {
  const initrd = await builderInitrd(kernel);
  await using directory = await makeMachineDirectory();
  const log = join(directory.path, 'console.log');
  await writeFile(log, '');
  const args = [
    ...machineArgs({ type: 'q35', accelerator, memoryMiB: 256, cpus: 1, name: 'probe' }),
    ...consoleArgs(log),
    ...kernelArgs(kernel.kernel, initrd, 'console=ttyS0 panic=-1 agent=probe'),
  ];
  const console = new SerialConsole(() => {});
  let computedMs = 0;
  let pid = 0;
  const qemu = await startQemu(args, (data) => {
    console.feed(data);
    if (pid !== 0) computedMs = Math.max(computedMs, processTimes(pid).computedMs);
  });
  pid = qemu.pid;
  signal?.addEventListener('abort', () => qemu.kill(), { once: true });
  const ended = await settleWithin(qemu.exited, timeoutMs);
  qemu.kill();
  const exit = await qemu.exited;
  const shown = await readFile(log, 'utf8').catch(() => '');
  if (ended && exit.exitCode === 0 && /reboot: Power down/.test(shown))
    return { ran: true, what: 'a Linux kernel ran and powered off under KVM', computedMs };
  const last = (await console.lastLines(2)).join(' ').slice(0, 200) || 'no output';
  const what = ended
    ? `no Linux kernel runs under KVM on this host: ${last}`
    : `a Linux kernel hung under KVM for ${timeoutMs / 1000} s; last output: ${last}`;
  return { ran: false, what, computedMs };
}
