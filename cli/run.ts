import { startMachine } from '../harness/machine/start-machine.ts';
import type { DiskInterface } from '../harness/qemu/argv.ts';
import { architectureFor } from '../harness/verify/verify-boot.ts';
import { InvalidOptionsError } from '../lib/errors.ts';
import { inspectImage } from '../lib/inspect/inspect-image.ts';
import { EXIT } from './exit-codes.ts';

interface RunFlags {
  readonly firmware?: 'legacy' | 'efi';
  readonly memory?: number;
  readonly diskInterface?: DiskInterface;
  readonly accel?: 'kvm' | 'tcg';
}

/** Ctrl-], as telnet(1) has it. */
const ESCAPE = 0x1d;

/** Boots an image with this terminal as its serial console, until the guest powers off or Ctrl-] is typed. */
export async function runCommand(image: string, flags: RunFlags, signal: AbortSignal): Promise<number> {
  const inspection = await inspectImage({ image }, { signal });
  const firmware = flags.firmware ?? inspection.firmware.at(0);
  if (firmware === undefined)
    throw new InvalidOptionsError(
      'run',
      [{ path: '', message: `${image} has no partition table that says which firmware it is for` }],
      { hint: 'name it: --firmware legacy, or efi' },
    );
  await using machine = await startMachine(
    {
      image,
      firmware,
      architecture: architectureFor(firmware, inspection),
      memoryMiB: flags.memory,
      diskInterface: flags.diskInterface,
      accelerator: flags.accel,
    },
    { signal, onConsole: (data) => process.stdout.write(data) },
  );
  // A person's own terminal answers what the guest asks.
  machine.console.answersQuestions = process.stdin.isTTY !== true;
  process.stderr.write(
    `${image}: ${firmware}, ${machine.accelerator.toUpperCase()}; what it writes is thrown away; Ctrl-] ends it\n`,
  );
  const terminal = process.stdin;
  if (terminal.isTTY === true) {
    terminal.setRawMode(true);
    const resize = (): void => machine.qemu.resize(process.stdout.columns, process.stdout.rows);
    resize();
    process.stdout.on('resize', resize);
  }
  terminal.on('data', (data: Buffer) => {
    if (terminal.isTTY === true && data.includes(ESCAPE)) machine.qemu.kill();
    else machine.console.write(data.toString('utf8'));
  });
  const abort = (): void => machine.qemu.kill();
  signal.addEventListener('abort', abort, { once: true });
  try {
    const exit = await machine.exited;
    process.stderr.write(
      `\n${image}: ${exit.reason ?? (exit.signal === undefined ? `QEMU exited with status ${exit.exitCode}` : 'ended')}\n`,
    );
    return exit.reason === 'guest-reset' || exit.reason === 'guest-panic' ? EXIT.wrong : EXIT.good;
  } finally {
    if (terminal.isTTY === true) terminal.setRawMode(false);
    terminal.pause();
  }
}
