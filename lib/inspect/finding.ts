/** Something about an image that a machine would stumble over, or its owner should know. */
export interface Finding {
  /** A word for programs: "no-boot-signature". */
  readonly name: string;
  /** `fatal`: what it concerns cannot work. `error`: works here, and is wrong. `warning`: worth knowing. */
  readonly severity: 'fatal' | 'error' | 'warning';
  /** The firmware whose way it lies in; undefined for both. */
  readonly firmware?: 'legacy' | 'efi' | undefined;
  /** Who stumbles over it. */
  readonly stage: 'firmware' | 'loader' | 'kernel' | 'stage 1';
  /** A sentence, with sectors and paths. */
  readonly message: string;
}
