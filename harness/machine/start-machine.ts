import { chmod, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { inspectDiskImage } from '../../lib/programs/disk-image-format.ts';
import { AbortedError } from '../../lib/run/errors.ts';
import { parseOptions } from '../../lib/run/parse-options.ts';
import { accelerate } from '../builder/accelerator.ts';
import { ARCHITECTURES } from '../qemu/architecture.ts';
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
import { type KeptOverlay, keptOverlay } from '../qemu/kept-overlay.ts';
import { makeMachineDirectory } from '../qemu/machine-directory.ts';
import { createOverlay } from '../qemu/overlay.ts';
import { startTpm, type Tpm } from '../qemu/tpm.ts';
import { Machine } from './machine.ts';
import { firmwareNamed, type MachineContext, type MachineOptions, type MachineSpec } from './machine-spec.ts';
import { machineRules, machineSpecSchema } from './machine-spec-schema.ts';
import { setUpUefi, type UefiSetup } from './uefi-setup.ts';

/** Starts a machine from a disk image on an overlay, a private one unless `overlay` names it: whatever the machine does, the image's
 *  bytes stay as they are.
 *  @throws {InvalidOptionsError} for an image that cannot be booted as told; {ToolMissingError}, {FirmwareMissingError},
 *  {HarnessError} when the host lacks something.
 *  @see qemu(1). Runs: qemu-system-x86_64 or qemu-system-aarch64, qemu-img; swtpm for a TPM. */
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
  const uefi = spec.firmware === 'efi' ? await setUpUefi('startMachine', spec, architecture) : undefined;
  const smm = type === 'q35' && uefi?.firmware.requiresSmm === true;
  const directory = await makeMachineDirectory();
  let kept: KeptOverlay | undefined;
  let tpm: Tpm | undefined;
  try {
    kept = spec.overlay === undefined ? undefined : await keptOverlay(spec.overlay, image);
    const overlay = kept?.file ?? join(directory.path, 'overlay.qcow2');
    if (kept === undefined) await createOverlay(overlay, Math.max(spec.diskBytes ?? 0, image.virtualBytes));
    const disk = overlayNode(overlay, image.file, image.format, { isKept: kept !== undefined });
    const { tpm: wanted = false } = spec;
    if (wanted !== false)
      tpm = await startTpm('startMachine', directory.path, wanted === true ? undefined : wanted.stateDirectory, type);
    const recordFile = join(directory.path, 'console.log');
    const logFile = spec.logFile === undefined ? undefined : resolve(spec.logFile);
    const args = [
      ...machineArgs({ type, accelerator, memoryMiB: spec.memoryMiB ?? 1024, cpus: spec.cpus ?? 1, name, smm }),
      ...consoleArgs(recordFile),
      ...qmpArgs(join(directory.path, 'qmp')),
      ...entropyArgs(type),
      ...(tpm?.args ?? []),
      ...(type === 'q35' ? screenArgs() : []),
      ...networkArgs(spec.forwardPorts ?? []),
      ...smbiosArgs(spec.kernelParameters, spec.credentials),
      ...(uefi === undefined ? kernelOf(spec) : await uefiArgs(uefi, directory.path, smm)),
      ...diskArgs(disk, spec.diskInterface ?? 'virtio', type, {
        bootFirst: spec.efiVariables === undefined,
        sectorBytes: spec.sectorBytes,
      }),
    ];
    await writeFile(recordFile, '');
    if (logFile !== undefined) await writeFile(logFile, '');
    // Enrolling its keys, systemd-boot restarts the machine.
    const enrollments = spec.secureBoot === 'setup-mode' ? 1 : 0;
    const { commandTimeoutMs, allowReboots = enrollments, passphrase, answers = [] } = spec;
    return await Machine.start(
      {
        ...{ name, architecture, args, directory, recordFile, logFile, accelerator, slowness, commandTimeoutMs },
        ...{ allowReboots, answers: { passphrase, answers } },
        tpm,
        uefi: uefi && { variablesFile: variablesIn(directory.path), secureBoot: uefi.secureBoot },
        ...{ hasScreen: type === 'q35', isDirect: spec.firmware === 'direct' },
      },
      context,
    );
  } catch (error) {
    await tpm?.stop();
    await kept?.discard();
    await directory[Symbol.asyncDispose]();
    throw error;
  }
}

function kernelOf({ firmware, kernel }: MachineSpec): string[] {
  if (firmware === 'bios') return [];
  if (kernel === undefined) throw new TypeError('the rules let no "direct" pass without a kernel');
  return kernelArgs(kernel.kernel, kernel.initrd, kernel.commandLine);
}

function variablesIn(directory: string): string {
  return join(directory, 'efi-vars');
}

async function uefiArgs({ firmware, writeVariables }: UefiSetup, directory: string, smm: boolean): Promise<string[]> {
  const variables = variablesIn(directory);
  await writeVariables(variables);
  await chmod(variables, 0o600);
  return uefiFirmwareArgs(
    { file: firmware.code, format: firmware.codeFormat },
    { file: variables, format: firmware.variablesFormat },
    smm,
  );
}
