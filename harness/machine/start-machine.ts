import { chmod, copyFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inspectDiskImage } from '../../lib/programs/disk-image-format.ts';
import { AbortedError } from '../../lib/run/errors.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { accelerate } from '../builder/accelerator.ts';
import { HarnessError } from '../errors.ts';
import { ARCHITECTURES, type Architecture } from '../qemu/architecture.ts';
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
} from '../qemu/argv.ts';
import { findUefiFirmware } from '../qemu/firmware.ts';
import { makeMachineDirectory } from '../qemu/machine-directory.ts';
import { Machine } from './machine.ts';
import { firmwareNamed, type MachineContext, type MachineOptions, type MachineSpec } from './machine-spec.ts';
import { machineRules, machineSpecSchema } from './machine-spec-schema.ts';

/** Starts a machine from a disk image, on a private overlay, so that the image is never modified.
 *  @throws {InvalidOptionsError} for an image that cannot be booted with these options; {ToolMissingError}, {FirmwareMissingError},
 *  {HarnessError} if the host lacks something.
 *  @see qemu(1). Runs: qemu-system-x86_64 or qemu-system-aarch64, qemu-img. */
export async function startMachine(options: MachineOptions, context: MachineContext = {}): Promise<Machine> {
  const spec: MachineSpec = { ...options, firmware: firmwareNamed(options.firmware) };
  if (context.signal?.aborted) throw new AbortedError('startMachine', { cause: context.signal.reason });
  const given = Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined));
  parseOptions('startMachine', machineSpecSchema, given, [(found) => machineRules(found as Partial<MachineSpec>)]);
  const architecture = spec.architecture ?? 'x86_64';
  const image = await inspectDiskImage(spec.image, spec.format);
  const { accelerator, slowness } = await accelerate(
    architecture === 'x86_64' ? spec.accelerator : 'tcg',
    context.signal,
  );
  const type = spec.machine ?? ARCHITECTURES[architecture].machine;
  const name = spec.name ?? `${image.file.split('/').at(-1)} (${spec.firmware})`;
  const directory = await makeMachineDirectory();
  try {
    const overlay = join(directory.path, 'overlay.qcow2');
    await runQemuImg(['create', '-q', '-f', 'qcow2', overlay, `${Math.max(spec.diskBytes ?? 0, image.virtualBytes)}`]);
    const recordFile = join(directory.path, 'console.log');
    const logFile = spec.logFile === undefined ? undefined : resolve(spec.logFile);
    const args = [
      ...machineArgs({ type, accelerator, memoryMiB: spec.memoryMiB ?? 1024, cpus: spec.cpus ?? 1, name }),
      ...consoleArgs(recordFile),
      ...qmpArgs(join(directory.path, 'qmp')),
      ...entropyArgs(type),
      ...(type === 'q35' ? screenArgs() : []),
      ...networkArgs(spec.forwardPorts ?? []),
      ...smbiosArgs(spec.kernelParameters, spec.credentials),
      ...(await firmwareArgs(spec, architecture, directory.path)),
      ...diskArgs(overlayNode(overlay, image.file, image.format), spec.diskInterface ?? 'virtio', type, {
        bootFirst: spec.efiVariables === undefined,
        sectorBytes: spec.sectorBytes,
      }),
    ];
    await writeFile(recordFile, '');
    if (logFile !== undefined) await writeFile(logFile, '');
    const { commandTimeoutMs, allowReboots = 0, passphrase, answers = [] } = spec;
    return await Machine.start(
      {
        ...{ name, architecture, args, directory, recordFile, logFile, accelerator, slowness, commandTimeoutMs },
        ...{ allowReboots, answers: { passphrase, answers } },
        ...{ hasScreen: type === 'q35', isDirect: spec.firmware === 'direct' },
      },
      context,
    );
  } catch (error) {
    await directory[Symbol.asyncDispose]();
    throw error;
  }
}

async function firmwareArgs(spec: MachineSpec, architecture: Architecture, directory: string): Promise<string[]> {
  if (spec.firmware === 'bios') return [];
  if (spec.firmware === 'direct') {
    if (spec.kernel === undefined) throw new TypeError('machineRules should have rejected "direct" without a kernel');
    return kernelArgs(spec.kernel.kernel, spec.kernel.initrd, spec.kernel.commandLine);
  }
  const firmware = await findUefiFirmware({ architecture });
  const variables = join(directory, 'efi-vars');
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
