import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { execa } from 'execa';
import { ARCHITECTURES } from '../../harness/qemu/architecture.ts';
import { findUefiFirmware } from '../../harness/qemu/firmware.ts';
import { tempDirectory } from './temp-directory.ts';

/** The result of booting an image with plain QEMU, without this project's harness. */
export interface PlainBoot {
  /** Whether a prompt appeared, root logged in, a command ran, and the guest powered off. */
  readonly boots: boolean;
  /** Milliseconds from the start of QEMU to the prompt; undefined without one. */
  readonly promptMs: number | undefined;
  /** The complete console output. */
  readonly text: string;
}

/** How long a good image may take on a loaded host. */
const MOST_MS = 150_000;
/** No output follows such a long silence. */
const SILENT_MS = 45_000;

/** Kernel messages about a damaged disk or filesystem. */
export const SAYS_DAMAGE =
  /EXT4-fs (?:error|warning|\(\w+\): (?:error|bad|mounting fs with errors))|I\/O error|Structure needs cleaning|checksum/i;

/** Boots a copy-on-write overlay of an image, logs in as root without a password, and powers off. Runs: qemu-system-x86_64.
 *  @param until "prompt" stops at the prompt. */
export async function plainBoot(
  image: string,
  format: 'raw' | 'qcow2',
  firmware: 'bios' | 'efi',
  {
    memoryMiB = 1024,
    until = 'off',
    directory,
  }: { memoryMiB?: number; until?: 'prompt' | 'off'; directory?: string } = {},
): Promise<PlainBoot> {
  const work = directory ?? (await tempDirectory());
  const args = [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-machine', 'q35,graphics=off', '-accel', 'tcg', '-cpu', 'max'],
    ...['-m', `${memoryMiB}`, '-display', 'none', '-serial', 'stdio', '-device', 'VGA', '-snapshot'],
    ...['-object', 'rng-random,id=entropy,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=entropy'],
    ...['-drive', `if=none,id=disk,format=${format},file=${image}`],
    ...['-device', 'virtio-blk-pci,drive=disk,bootindex=1'],
    ...(firmware === 'efi' ? await flash(work) : []),
  ];
  const startedAt = performance.now();
  const qemu = execa(ARCHITECTURES.x86_64.qemu, args, { buffer: false, reject: false, stdin: 'pipe', cleanup: true });
  let [text, lastAt, done] = ['', startedAt, 0];
  let promptMs: number | undefined;
  const steps = [
    { see: /login: ?$/, type: 'root\n' },
    { see: /[#$] ?$/, type: 'echo plain-$((6*7)); poweroff\n' },
  ];
  qemu.stdout.on('data', (data: Buffer) => {
    text += data.toString('latin1');
    lastAt = performance.now();
    const step = steps[done];
    if (step === undefined || !step.see.test(stripVTControlCharacters(text.slice(-80)))) return;
    promptMs ??= lastAt - startedAt;
    if (until === 'prompt') qemu.kill('SIGKILL');
    done += 1;
    qemu.stdin.write(step.type);
  });
  const watch = setInterval(() => {
    const now = performance.now();
    if (now - startedAt > MOST_MS || now - lastAt > SILENT_MS) qemu.kill('SIGKILL');
  }, 500);
  await qemu;
  clearInterval(watch);
  return { boots: promptMs !== undefined && (until === 'prompt' || text.includes('plain-42')), promptMs, text };
}

async function flash(directory: string): Promise<string[]> {
  const firmware = await findUefiFirmware({ architecture: 'x86_64' });
  const variables = join(directory, 'variables');
  await copyFile(firmware.variablesTemplate, variables);
  return [
    ...['-drive', `if=pflash,format=${firmware.codeFormat},readonly=on,file=${firmware.code}`],
    ...['-drive', `if=pflash,format=${firmware.variablesFormat},file=${variables}`],
  ];
}
