import { z } from 'zod';
import { guid, path, SECURE_BOOT_WAYS, secretFile } from './fields.ts';

const keyPair = z.strictObject({ key: secretFile, certificate: path });

/** `secureBoot` of an image specification. */
export const secureBootSpec = z.strictObject({
  /** The private key that signs, in PEM without a passphrase, and its certificate. */
  key: secretFile,
  certificate: path,
  way: z.enum([...SECURE_BOOT_WAYS, 'lanzaboote']).default('uki'),
  /** How the keys get into a machine's firmware. */
  enroll: z.enum(['variables', 'first-boot', 'none']).default('none'),
  /** Keys that are enrolled beside `key`; default: `key` itself. */
  platformKey: keyPair.optional(),
  keyExchangeKey: keyPair.optional(),
  /** The GUID of the keys' owner. */
  owner: guid.optional(),
  /** systemd's EFI stub for "uki"; default: the one of the system's own systemd, or of this host. */
  stub: path.optional(),
});

export type SecureBootSpec = z.output<typeof secureBootSpec>;
