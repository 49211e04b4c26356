import { isBefore } from '../verdict/stages.ts';
import type { LiveMachine } from './live-machine.ts';

/** Consecutive samples in the kernel after which it is believed to be stuck. */
const IN_A_ROW = 3;

/** Observes a machine's CPU and disk through QEMU, for machines that print nothing. */
export class Processor {
  readonly #machine: LiveMachine;
  /** The address of the instruction at the last look. */
  address: bigint | undefined;
  /** The address space at the last look, which differs between processes. */
  space: bigint | undefined;
  /** Whether the disk was used between the last two looks. */
  usedDisk = false;
  #operations: number | undefined;
  #inKernel = 0;
  #sampling = false;

  constructor(machine: LiveMachine) {
    this.#machine = machine;
  }

  /** Whether the CPU was busy in the kernel at each recent `sample`. */
  get isInKernel(): boolean {
    return this.#inKernel >= IN_A_ROW;
  }

  /** Reads the CPU's address and the disk's counters, and records the kernel stage if the CPU runs a kernel. */
  async look(): Promise<void> {
    const machine = this.#machine;
    const [registers, disk] = await Promise.all([machine.registers(), machine.diskUse()]);
    this.usedDisk = disk !== undefined && this.#operations !== undefined && disk.operations !== this.#operations;
    this.#operations = disk?.operations;
    const where = parseRegisters(registers);
    this.address = where?.address;
    this.space = where?.space;
    if (where === undefined || !(where.isUser || where.isKernel)) return;
    if (isBefore(machine.watch.furthest, 'kernel')) machine.watch.elsewhere.note('kernel', machine.now);
  }

  /** Samples whether the CPU is busy in the kernel, unless a sample is already in progress. */
  sample(): void {
    if (this.#sampling) return;
    this.#sampling = true;
    this.#machine
      .registers()
      .then((registers) => {
        const where = parseRegisters(registers);
        const stuck = where?.isKernel === true && !where.isUser && !where.waits;
        this.#inKernel = stuck ? this.#inKernel + 1 : 0;
      })
      .finally(() => {
        this.#sampling = false;
      });
  }
}

interface Where {
  readonly address: bigint;
  readonly space: bigint | undefined;
  /** Firmware and loaders run at low addresses, in the most privileged mode. */
  readonly isKernel: boolean;
  readonly isUser: boolean;
  /** Whether it waits for an interrupt. */
  readonly waits: boolean;
}

/** Parses the output of QEMU's `info registers`. */
function parseRegisters(text: string): Where | undefined {
  const [, digits = ''] = /(?:RIP| PC)=([0-9a-f]{16})/.exec(text) ?? [];
  if (digits === '') return undefined;
  const [, flags = '0'] = /RFL=([0-9a-f]+)/.exec(text) ?? [];
  const [, root] = / CR3=([0-9a-f]{16})/.exec(text) ?? [];
  return {
    // Without the process-context identifier, and the bit that distinguishes the two page tables of a process.
    space: root === undefined ? undefined : BigInt(`0x${root}`) >> 13n,
    address: BigInt(`0x${digits}`),
    isKernel: digits.startsWith('ffff'),
    isUser: /CPL=3| EL0t/.test(text),
    // The interrupt flag, and HLT.
    waits: /HLT=1/.test(text) && (Number.parseInt(flags, 16) & 0x200) !== 0,
  };
}
