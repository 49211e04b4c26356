import { type Pe, readPe } from '../formats/efi-program.ts';
import type { ReadBytes } from '../formats/extent.ts';
import { programDigest, readSignatures } from '../formats/secure-boot/authenticode.ts';
import type { Budget } from '../inspect/budget.ts';
import { roundUp } from '../units.ts';

/** A file that may be an EFI program. */
interface ProgramFile {
  readonly read: ReadBytes;
  readonly sizeBytes: number;
}

/** Two EFI programs with different bytes. */
interface ProgramDifference {
  /** Whether they differ only in their signatures: firmware computes the same hash of both. */
  readonly isSameProgram: boolean;
  /** The signers. */
  readonly a: string;
  readonly b: string;
}

/** Compares the signatures of two EFI programs apart from the programs. @returns undefined when one is not an EFI program, or none is
 *  signed. */
export async function diffPrograms(
  budget: Budget,
  a: ProgramFile,
  b: ProgramFile,
): Promise<ProgramDifference | undefined> {
  const [peA, peB] = [await readPe(a.read), await readPe(b.read)];
  if (peA === undefined || peB === undefined || (!peA.signed && !peB.signed)) return undefined;
  const check = (): void => budget.check();
  const [digestA, digestB] = [
    await programDigest(padded(a), peA, 'sha256', check),
    await programDigest(padded(b), peB, 'sha256', check),
  ];
  return {
    isSameProgram: digestA.equals(digestB),
    a: await describe(a.read, peA, check),
    b: await describe(b.read, peB, check),
  };
}

/** Signing pads a program with zeros to a multiple of eight bytes, and hashes these as well. */
function padded({ read, sizeBytes }: ProgramFile): ReadBytes {
  const end = roundUp(sizeBytes, 8);
  return async (at, bytes) => {
    const found = await read(at, bytes);
    const wanted = Math.min(bytes, Math.max(0, end - at));
    return found.length >= wanted ? found : Buffer.concat([found, Buffer.alloc(Math.min(wanted - found.length, 7))]);
  };
}

async function describe(read: ReadBytes, pe: Pe, check: () => void): Promise<string> {
  const signatures = await readSignatures(read, pe, check);
  if (signatures.length === 0) return pe.signed ? 'signed, but not readable' : 'not signed';
  return signatures
    .map(({ signer, hashMatches, isAuthentic }) =>
      hashMatches && isAuthentic ? `signed by ${signer}` : `changed after ${signer} signed it`,
    )
    .join(', ');
}
