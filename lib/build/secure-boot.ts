import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { requireFile } from '../host-files/given-paths.ts';
import { readSigningPair } from '../host-files/signing-pair.ts';
import { efiArchitecture, readGeneration } from '../nix/bootspec.ts';
import { resolveInStore, resolveStorePath } from '../nix/store.ts';
import { InvalidOptionsError } from '../run/errors.ts';
import type { ImageSpec } from '../spec/image-spec.ts';
import type { SecureBootSpec } from '../spec/secure-boot-spec.ts';

const STEP = 'buildImage';

/** What signing needs, checked before anything is made. */
export interface SecureBootPlan extends Omit<SecureBootSpec, 'way' | 'stub'> {
  readonly way: 'uki' | 'kernel';
  /** A file of this host. */
  readonly stub: string | undefined;
}

/** @throws {InvalidOptionsError} for keys that cannot be used, and for a missing stub. */
export async function planSecureBoot(spec: ImageSpec): Promise<SecureBootPlan | undefined> {
  const { secureBoot } = spec;
  if (secureBoot === undefined) return undefined;
  const { way } = secureBoot;
  // The specification is checked for it: see the rules of image-spec.ts.
  if (way === 'lanzaboote') throw new Error('way "lanzaboote" was not refused');
  const pairs = {
    '': secureBoot,
    'platformKey.': secureBoot.platformKey,
    'keyExchangeKey.': secureBoot.keyExchangeKey,
  };
  for (const [name, pair] of Object.entries(pairs))
    if (pair !== undefined) await readSigningPair(STEP, pair.key, pair.certificate, `secureBoot.${name}`);
  return { ...secureBoot, way, stub: way === 'uki' ? await findStub(spec, secureBoot.stub) : undefined };
}

async function findStub(spec: ImageSpec, given: string | undefined): Promise<string> {
  if (given !== undefined) {
    await requireFile(STEP, given, 'secureBoot.stub');
    return given;
  }
  const store = spec.store ?? '/';
  const toplevel = await resolveStorePath(STEP, spec.toplevel, 'toplevel', spec.store);
  const { systems } = await readGeneration(STEP, { number: 1, toplevel }, { store: spec.store });
  const name = `linux${efiArchitecture(systems[0].system)?.name}.efi.stub`;
  const inSystem = await resolveInStore(store, `${toplevel}/systemd/lib/systemd/boot/efi/${name}`);
  const candidates = [...(inSystem === undefined ? [] : [join(store, inSystem)]), `/usr/lib/systemd/boot/efi/${name}`];
  for (const candidate of candidates)
    if (
      await access(candidate).then(
        () => true,
        () => false,
      )
    )
      return candidate;
  throw new InvalidOptionsError(
    STEP,
    [{ path: 'secureBoot.stub', message: `is needed: the system's systemd has no ${name}, and neither has this host` }],
    { hint: `give it the file ${name} of a systemd (Debian: systemd-boot-efi)` },
  );
}
