import { chmod, copyFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inspectDiskImage } from '../lib/disk-image-format.ts';
import { AbortedError, InvalidOptionsError } from '../lib/errors.ts';
import { localExecutor } from '../lib/local-executor.ts';
import { HarnessError } from './errors.ts';
import { Machine } from './machine.ts';
import { makeMachineFolder } from './machine-folder.ts';
import type { MachineContext, MachineSpec } from './machine-spec.ts';
import { accelerate } from './qemu/accelerator.ts';
import {
  consoleArgs,
  diskArgs,
  entropyArgs,
  kernelArgs,
  machineArgs,
  networkArgs,
  overlayNode,
  qmpArgs,
  screenArgs,
  smbiosArgs,
  uefiFirmwareArgs,
} from './qemu/argv.ts';
import { findUefiFirmware } from './qemu/firmware.ts';

/** Starts a machine from a disk image on a private overlay: whatever it does, the image's bytes stay as they are.
 *  @throws {InvalidOptionsError} for an image that cannot be booted as told; {ToolMissingError}, {FirmwareMissingError},
 *  {HarnessError} when the host lacks something.
 *  @see qemu(1). Runs: qemu-system-x86_64, qemu-img. */
export async function startMachine(spec: MachineSpec, context: MachineContext = {}): Promise<Machine> {
  if (context.signal?.aborted) throw new AbortedError('startMachine', { cause: context.signal.reason });
  if (!['legacy', 'efi', 'direct'].includes(spec.firmware))
    throw new InvalidOptionsError('startMachine', [
      { path: 'firmware', message: `${spec.firmware} is none of legacy, efi, direct` },
    ]);
  if (spec.memoryMiB !== undefined && !(Number.isInteger(spec.memoryMiB) && spec.memoryMiB >= 64))
    throw new InvalidOptionsError('startMachine', [
      { path: 'memoryMiB', message: 'must be a whole number of at least 64' },
    ]);
  const image = await inspectDiskImage(spec.image, spec.format);
  const { accelerator, slowness } = await accelerate(spec.accelerator, context.signal);
  const type = spec.machine ?? 'q35';
  const name = spec.name ?? `${image.file.split('/').at(-1)} (${spec.firmware})`;
  const folder = await makeMachineFolder();
  try {
    const overlay = join(folder.path, 'overlay.qcow2');
    await runQemuImg(['create', '-q', '-f', 'qcow2', overlay, `${Math.max(spec.diskBytes ?? 0, image.virtualBytes)}`]);
    const logFile = spec.logFile === undefined ? join(folder.path, 'console.log') : resolve(spec.logFile);
    const args = [
      ...machineArgs({ type, accelerator, memoryMiB: spec.memoryMiB ?? 1024, cpus: spec.cpus ?? 1, name }),
      ...consoleArgs(logFile),
      ...qmpArgs(join(folder.path, 'qmp')),
      ...entropyArgs(type),
      ...(type === 'q35' ? screenArgs() : []),
      ...networkArgs(spec.forwardPorts ?? []),
      ...smbiosArgs(spec.kernelParameters),
      ...(await firmwareArgs(spec, folder.path)),
      ...diskArgs(overlayNode(overlay, image.file, image.format), spec.diskInterface ?? 'virtio', type, {
        bootFirst: spec.efiVariables === undefined,
      }),
    ];
    await writeFile(logFile, '');
    const hasScreen = type === 'q35';
    const { commandTimeoutMs } = spec;
    return await Machine.start(
      { name, args, folder, logFile, accelerator, slowness, hasScreen, commandTimeoutMs },
      context,
    );
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
}

async function firmwareArgs(spec: MachineSpec, folder: string): Promise<string[]> {
  if (spec.firmware === 'legacy') return [];
  if (spec.firmware === 'direct') {
    if (spec.kernel === undefined) throw new HarnessError('startMachine: firmware "direct" needs a kernel');
    return kernelArgs(spec.kernel.kernel, spec.kernel.initrd, spec.kernel.commandLine);
  }
  const firmware = await findUefiFirmware();
  const variables = join(folder, 'efi-vars');
  await copyFile(spec.efiVariables ?? firmware.variablesTemplate, variables);
  await chmod(variables, 0o600);
  return uefiFirmwareArgs(
    { file: firmware.code, format: firmware.codeFormat },
    { file: variables, format: firmware.variablesFormat },
  );
}

async function runQemuImg(args: readonly string[]): Promise<void> {
  const result = await localExecutor.run(['qemu-img', ...args]);
  if (result.exitCode !== 0)
    throw new HarnessError(`qemu-img ${args[0]} failed`, { detail: result.stderr.toString('utf8') });
}
