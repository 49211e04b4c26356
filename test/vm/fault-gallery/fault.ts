import type { VerifyBootOptions } from '../../../harness/verify/verify-boot.ts';
import type { BaseName } from './bases/bases.ts';
import type { BrokenImage } from './broken-image.ts';

/** A good image that is broken in one way, and the expected verdict. */
export interface Fault {
  /** A few words about how it is broken. */
  readonly fault: string;
  readonly base: BaseName;
  readonly firmware: 'bios' | 'efi';
  readonly breakIt: (image: BrokenImage) => Promise<void>;
  readonly stage: string;
  readonly name: string;
  /** Text that the cause must contain. */
  readonly cause: RegExp;
  readonly machine?: Partial<VerifyBootOptions>;
  /** Runs only if ALL_VERDICTS is set: the verdict takes a minute or more, or it is one of several similar faults. */
  readonly slow?: true;
}
