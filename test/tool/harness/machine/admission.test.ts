import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { HarnessError } from '../../../../harness/errors.ts';
import { admit, describeHolders, type PlaceHolder } from '../../../../harness/machine/admission.ts';
import { startChild } from '../../../helpers/child.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

afterEach(() => vi.unstubAllEnvs());

async function ownCache(): Promise<string> {
  const directory = await tempDirectory();
  vi.stubEnv('XDG_CACHE_HOME', directory);
  return join(directory, 'nixos-disk-image');
}

/** Another process, with the same cache directory, takes the only place. */
const HOLD = `
  const { admit } = await import(DIST + 'harness/machine/admission.js');
  await admit(undefined, { places: 1, label: 'a.img, efi' });
  console.log('admitted');
`;

test('at most as many machines run as there are places; the next one waits', async () => {
  await ownCache();
  const first = await admit(undefined, { places: 2 });
  await using _second = await admit(undefined, { places: 2 });
  let admitted = false;
  const third = admit(undefined, { places: 2 }).then((place) => {
    admitted = true;
    return place;
  });
  const abort = new AbortController();
  const fourth = admit(abort.signal, { places: 2 });
  abort.abort(new Error('enough'));
  await expect(fourth).rejects.toMatchObject({ code: 'E_ABORTED' });
  expect(admitted).toBe(false);
  await first[Symbol.asyncDispose]();
  const place = await third;
  expect(place.waitedMs).toBeGreaterThan(0);
  await place[Symbol.asyncDispose]();
});

test('the environment sets the number of places, and an invalid number is refused', async () => {
  await ownCache();
  vi.stubEnv('NIXOS_DISK_IMAGE_MACHINES', '1');
  await using _only = await admit();
  await expect(admit(undefined, { timeoutMs: 1 })).rejects.toBeInstanceOf(HarnessError);
  vi.stubEnv('NIXOS_DISK_IMAGE_MACHINES', 'all');
  await expect(admit()).rejects.toThrow(/NIXOS_DISK_IMAGE_MACHINES: "all" is not a number of machines/);
});

test('all waiting processes are admitted, one after another', async () => {
  await ownCache();
  let running = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      await using _place = await admit(undefined, { places: 2 });
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
    }),
  );
  expect(most).toBeLessThanOrEqual(2);
});

describe.each([
  ['in this container', false],
  ['in another container', true],
])('a process %s', (_, elsewhere) => {
  test('keeps its place until it is killed, and a waiting process learns who has it', async () => {
    await ownCache();
    const holder = await startChild(HOLD, { elsewhere });
    expect(holder.line).toBe('admitted');
    let told: readonly PlaceHolder[] = [];
    const waiting = admit(undefined, {
      places: 1,
      onWait: (holders) => {
        told = holders;
        holder.kill();
      },
    });
    await using place = await waiting;
    expect(place.waitedMs).toBeGreaterThan(0);
    expect(told).toMatchObject([{ label: 'a.img, efi', isHere: !elsewhere }]);
    if (!elsewhere) expect(told[0]?.pid).toBe(holder.process.pid);
    expect(describeHolders(told)).toMatch(
      elsewhere ? /^pid \d+ in another container \(a\.img, efi, for / : /^pid \d+ \(a\.img, efi, for /,
    );
  });

  test('is named if no place becomes free in time', async () => {
    await ownCache();
    await startChild(HOLD, { elsewhere });
    const attempt = admit(undefined, { places: 1, timeoutMs: 200 });
    await expect(attempt).rejects.toThrow(HarnessError);
    await expect(attempt).rejects.toThrow(
      /^no place for another machine became free within 200 ms; places are held by pid \d+.*a\.img, efi/,
    );
  });
});

test('onWait is not called if a place is free', async () => {
  await ownCache();
  const onWait = vi.fn();
  await using _place = await admit(undefined, { places: 1, onWait });
  expect(onWait).not.toHaveBeenCalled();
});

test('files left by earlier versions, or by a full disk, do no harm', async () => {
  const cache = await ownCache();
  await mkdir(join(cache, 'running'), { recursive: true });
  await writeFile(join(cache, 'running/0'), '1 1 another-boot/pid:[1]');
  await mkdir(join(cache, 'places'));
  await writeFile(join(cache, 'places/0.holder'), '{"pid": 1, "la');
  await using first = await admit(undefined, { places: 1, label: 'a.img, efi' });
  expect(first.waitedMs).toBeLessThan(10_000);
});
