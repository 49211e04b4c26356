import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { admit } from '../../../../harness/machine/admission.ts';
import { processIdentity } from '../../../../lib/process-identity.ts';
import { tempFolder } from '../../../helpers/temp-folder.ts';

afterEach(() => vi.unstubAllEnvs());

async function ownCache(): Promise<string> {
  const folder = await tempFolder();
  vi.stubEnv('XDG_CACHE_HOME', folder);
  return join(folder, 'nixos-disk-image/running');
}

test('no more machines run than there are places; the next waits until one is free', async () => {
  await ownCache();
  const first = await admit(undefined, 2);
  await using _second = await admit(undefined, 2);
  let admitted = false;
  const third = admit(undefined, 2).then((place) => {
    admitted = true;
    return place;
  });
  const abort = new AbortController();
  const fourth = admit(abort.signal, 2);
  abort.abort(new Error('enough'));
  await expect(fourth).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(admitted).toBe(false);
  await first[Symbol.asyncDispose]();
  const place = await third;
  expect(place.waitedMs).toBeGreaterThan(0);
  await place[Symbol.asyncDispose]();
});

test('the place of a process that was killed is free; that of another host’s is not', async () => {
  const folder = await ownCache();
  await mkdir(folder, { recursive: true });
  const [, start, space] = (await processIdentity()).split(' ');
  // No process has had this id since the same tick.
  await writeFile(join(folder, '0'), `4194304 ${start} ${space}`);
  await (await admit(undefined, 1))[Symbol.asyncDispose]();
  await writeFile(join(folder, '0'), `1 ${start} another-boot/pid:[1]`);
  await expect(admit(AbortSignal.timeout(700), 1)).rejects.toMatchObject({ code: 'E_ABORTED' });
});
