import { StringDecoder } from 'node:string_decoder';
import type { MachineExit } from '../harness/errors.ts';
import type { Machine } from '../harness/machine/machine.ts';
import { startMachine } from '../harness/machine/start-machine.ts';
import type { DiskInterface } from '../harness/qemu/argv.ts';
import { architectureFor } from '../harness/verify/verify-boot.ts';
import { inspectImage } from '../lib/inspect/inspect-image.ts';
import { InvalidOptionsError } from '../lib/run/errors.ts';
import { EXIT, ReaderGone } from './exit-codes.ts';
import { parseCredentials, type SecureBootFlags, secureBootOf, type TpmFlags, tpmOf } from './options.ts';

interface RunFlags extends SecureBootFlags, TpmFlags {
  readonly firmware?: 'bios' | 'efi';
  readonly memory?: number;
  readonly diskInterface?: DiskInterface;
  readonly accel?: 'kvm' | 'tcg';
  readonly efiVars?: string;
  readonly kernelParameters?: string;
  readonly credential?: readonly string[];
  readonly port?: readonly string[];
  readonly keep?: string;
}

/** Ctrl-], as telnet(1) has it. */
const ESCAPE = 0x1d;

/** Boots an image with this terminal as its serial console, until the guest powers off or Ctrl-] is typed. In a pipe, what is read
 *  is typed, and the guest goes on after its end. */
export async function runCommand(image: string, flags: RunFlags, signal: AbortSignal): Promise<number> {
  const credentials = parseCredentials('run', flags.credential ?? []);
  const forwardPorts = (flags.port ?? []).map(parsePort);
  const inspection = await inspectImage({ image }, { signal });
  // Only EFI has Secure Boot.
  const preset = secureBootOf(flags) === undefined ? inspection.firmware.at(0) : 'efi';
  const firmware = flags.firmware ?? preset;
  if (firmware === undefined)
    throw new InvalidOptionsError(
      'run',
      [{ path: '', message: `${image} has no partition table that says which firmware it is for` }],
      { hint: 'name it: --firmware bios, or efi' },
    );
  await using machine = await startMachine(
    {
      image,
      firmware,
      architecture: architectureFor(firmware, inspection),
      sectorBytes: inspection.sectorBytes,
      memoryMiB: flags.memory,
      diskInterface: flags.diskInterface,
      accelerator: flags.accel,
      efiVariables: flags.efiVars,
      secureBoot: secureBootOf(flags),
      kernelParameters: flags.kernelParameters,
      tpm: tpmOf(flags),
      ...{ credentials, forwardPorts, overlay: flags.keep },
    },
    { signal, onConsole: (data) => process.stdout.write(data) },
  );
  const fate = flags.keep === undefined ? 'thrown away' : `kept in ${flags.keep}`;
  process.stderr.write(
    `${image}: ${firmware}, ${machine.accelerator.toUpperCase()}; what it writes is ${fate}${process.stdin.isTTY ? '; Ctrl-] ends it' : ''}\n`,
  );
  const end = flags.keep === undefined ? () => machine.qemu.kill() : () => quit(machine);
  const detach = attach(machine, end);
  signal.addEventListener('abort', end, { once: true });
  try {
    const exit = await machine.exited;
    const wasEnded = detach();
    process.stderr.write(`\n${image}: ${wasEnded || signal.aborted ? 'ended' : describe(exit)}\n`);
    if (signal.reason instanceof ReaderGone || wasEnded) return EXIT.good;
    return signal.aborted ? EXIT.interrupted : statusOf(exit);
  } finally {
    signal.removeEventListener('abort', end);
    detach();
  }
}

/** Ends QEMU in order: it writes down what it holds of the overlay. */
function quit(machine: Machine): void {
  machine.qmp('quit').catch(() => machine.qemu.kill());
}

/** `2222:22`, or one number for both. */
function parsePort(text: string, index: number): { readonly hostPort: number; readonly guestPort: number } {
  const [, host, guest = host] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text) ?? [];
  const [hostPort, guestPort] = [Number(host), Number(guest)];
  if ([hostPort, guestPort].every((port) => port >= 1 && port <= 65_535)) return { hostPort, guestPort };
  throw new InvalidOptionsError('run', [
    { path: `--port (number ${index + 1})`, message: `"${text}" is not HOST:GUEST, two TCP ports` },
  ]);
}

/** Connects this process's terminal, or pipe, with the machine's console.
 *  @param end ends the machine when a person asks for it; asked again, it is killed.
 *  @returns what puts the terminal back as it was, and says whether a person has ended the machine. */
function attach({ console, qemu }: Machine, end: () => void): () => boolean {
  const input = process.stdin;
  const isTerminal = input.isTTY === true;
  // A person's own terminal answers what the guest asks, where it sees the questions.
  console.answersQuestions = !(isTerminal && process.stdout.isTTY === true);
  const output = [process.stdout, process.stderr].find((stream) => stream.isTTY === true);
  const resize = (): void => {
    if (output !== undefined) qemu.resize(output.columns, output.rows);
  };
  if (isTerminal) {
    input.setRawMode(true);
    resize();
    output?.on('resize', resize);
  }
  let wasEnded = false;
  // A character may come in two pieces.
  const decoder = new StringDecoder('utf8');
  const type = (data: Buffer): void => {
    if (isTerminal && data.includes(ESCAPE)) {
      if (wasEnded) qemu.kill();
      else end();
      wasEnded = true;
    } else console.write(decoder.write(data));
  };
  input.on('data', type);
  // Such as EIO of a terminal that was closed: there is no more input.
  const ignore = (): void => {};
  input.on('error', ignore);
  return () => {
    input.off('data', type);
    output?.off('resize', resize);
    if (isTerminal) input.setRawMode(false);
    input.pause();
    return wasEnded;
  };
}

function describe(exit: MachineExit): string {
  if (exit.reason !== undefined) return exit.reason;
  return exit.signal === undefined ? `QEMU exited with status ${exit.exitCode}` : `QEMU was killed by ${exit.signal}`;
}

/** The guest powered itself off; or it went down otherwise; or it is QEMU that did. */
function statusOf({ reason }: MachineExit): number {
  if (reason === 'guest-shutdown') return EXIT.good;
  return reason?.startsWith('guest-') === true ? EXIT.wrong : EXIT.harness;
}
