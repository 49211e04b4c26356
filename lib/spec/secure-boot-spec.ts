import { z } from 'zod';
import { guid, path, SECURE_BOOT_WAYS } from './fields.ts';

/** A private key must not be readable for everybody, as everything in the Nix store is. */
const privateKey = path.refine((file) => !/^\/+nix\/+store\//.test(file), {
  error: 'is in the Nix store, which everybody can read; keep private keys elsewhere',
});

const keyPair = z.strictObject({ key: privateKey, certificate: path });

/** `secureBoot` of an image specification. */
export const secureBootSpec = z.strictObject({
  /** The private key that signs, in PEM without a passphrase, and its certificate. */
  key: privateKey,
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
