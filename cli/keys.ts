import { generateSecureBootKeys } from '../lib/steps/generate-secure-boot-keys.ts';
import { EXIT } from './exit-codes.ts';

/** Makes the keys of Secure Boot, and prints where the pair that signs is. */
export async function keysCommand(
  directory: string,
  { name, days }: { readonly name?: string; readonly days?: number },
  signal: AbortSignal,
): Promise<number> {
  const { db } = await generateSecureBootKeys({ directory, name, days }, { signal });
  process.stdout.write(`key: ${db.key}\ncertificate: ${db.certificate}\n`);
  return EXIT.good;
}
