import type { VerifyBootOptions } from '../../../harness/verify/verify-boot.ts';
import type { BaseName } from './bases/bases.ts';
import type { BrokenImage } from './broken-image.ts';

/** A good image that is broken in one way, and what the verifier must say of it. */
export interface Fault {
  /** How it is broken, in a few words. */
  readonly fault: string;
  readonly base: BaseName;
  readonly firmware: 'bios' | 'efi';
  readonly breakIt: (image: BrokenImage) => Promise<void>;
  readonly stage: string;
  readonly name: string;
  /** What the cause must tell. */
  readonly cause: RegExp;
  readonly machine?: Partial<VerifyBootOptions>;
  /** A minute or more until the verdict, or one of several of its kind: run where ALL_VERDICTS is set. */
  readonly slow?: true;
}
