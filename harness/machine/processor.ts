import { isBefore } from '../verdict/stages.ts';
import type { LiveMachine } from './live-machine.ts';

/** Samples in a row after which a kernel is believed to do nothing else. */
const IN_A_ROW = 3;

/** What a machine's processor and disk do, as QEMU tells: for machines that say nothing. */
export class Processor {
  readonly #machine: LiveMachine;
  /** Where it was at the last look. */
  address: bigint | undefined;
  /** Whether the disk was used between the last two looks. */
  usedDisk = false;
  #operations: number | undefined;
  #inKernel = 0;
  #sampling = false;

  constructor(machine: LiveMachine) {
    this.#machine = machine;
  }

  /** Whether it has been in the kernel, at work, each time that `sample` looked. */
  get isInKernel(): boolean {
    return this.#inKernel >= IN_A_ROW;
  }

  /** Looks where it is, and notes when it has come to a kernel. */
  async look(): Promise<void> {
    const machine = this.#machine;
    const [registers, disk] = await Promise.all([machine.registers(), machine.diskUse()]);
    this.usedDisk = disk !== undefined && this.#operations !== undefined && disk.operations !== this.#operations;
    this.#operations = disk?.operations;
    const where = parseRegisters(registers);
    this.address = where?.address;
    if (where === undefined || !(where.isUser || where.isKernel)) return;
    if (isBefore(machine.watch.furthest, 'kernel')) machine.watch.elsewhere.note('kernel', machine.now);
  }

  /** Looks once more, if no look is on its way, whether it is in the kernel and at work there. */
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
  /** Firmware and loaders run at low addresses, in the most privileged mode. */
  readonly isKernel: boolean;
  readonly isUser: boolean;
  /** It has nothing to do until an interrupt comes. */
  readonly waits: boolean;
}

/** From QEMU's `info registers`. */
function parseRegisters(text: string): Where | undefined {
  const [, digits = ''] = /(?:RIP| PC)=([0-9a-f]{16})/.exec(text) ?? [];
  if (digits === '') return undefined;
  const [, flags = '0'] = /RFL=([0-9a-f]+)/.exec(text) ?? [];
  return {
    address: BigInt(`0x${digits}`),
    isKernel: digits.startsWith('ffff'),
    isUser: /CPL=3| EL0t/.test(text),
    // The interrupt flag, and HLT.
    waits: /HLT=1/.test(text) && (Number.parseInt(flags, 16) & 0x200) !== 0,
  };
}
