import { mkdir, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Machine } from '../../../harness/machine/machine.ts';
import { startMachine } from '../../../harness/machine/start-machine.ts';
import { checkEncrypted, checkLockdown, checkTpm } from '../../../harness/verify/security-checks.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { MIB } from '../../../lib/units.ts';
import { bindToTpm } from '../../helpers/bind-to-tpm.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

async function emptyDisk(directory: string): Promise<string> {
  const image = join(directory, 'empty.img');
  await writeFile(image, '');
  await truncate(image, 2 * MIB);
  return image;
}

/** Whether the TPM of a machine runs: its command line has the machine's directory. */
async function isRunning(machine: Machine): Promise<boolean> {
  const [, socket = ''] = /id=tpm,path=(\S+)/.exec(machine.qemu.argv.join(' ')) ?? [];
  const { stdout } = await localExecutor.run(['ps', '-eo', 'args']);
  return stdout.toString('utf8').includes(`path=${socket}`) && /^swtpm .*--terminate/m.test(stdout.toString('utf8'));
}

test('a TPM keeps its state in a directory, which one machine uses at a time', async () => {
  const directory = await tempDirectory();
  const image = await emptyDisk(directory);
  // Of a name that would be several options.
  const stateDirectory = join(directory, 'state,mode=0777 $(touch ran)');
  const start = () => startMachine({ image, firmware: 'bios', tpm: { stateDirectory } });
  const first = await start();
  await first.waitForConsoleText('SeaBIOS');
  expect((await stat(stateDirectory)).mode & 0o777).toBe(0o700);
  expect(await readdir(stateDirectory)).toContain('tpm2-00.permall');
  await expect(start()).rejects.toThrow(/tpm\.stateDirectory: .* is used by another machine/);
  expect(await isRunning(first)).toBe(true);
  await first[Symbol.asyncDispose]();
  expect(await isRunning(first)).toBe(false);
  await using second = await start();
  await second.waitForConsoleText('SeaBIOS');
  expect(await readdir(directory)).not.toContain('ran');
});

test('a directory that cannot be one is refused', async () => {
  const directory = await tempDirectory();
  const image = await emptyDisk(directory);
  const file = join(directory, 'file');
  await writeFile(file, '');
  for (const stateDirectory of [file, join(file, 'below'), join(directory, 'not/there')])
    await expect(startMachine({ image, firmware: 'bios', tpm: { stateDirectory } })).rejects.toThrow(
      /tpm\.stateDirectory/,
    );
  await mkdir(join(directory, 'ok'));
});

test('a root bound to a TPM boots without a passphrase, and not with another TPM, other measurements, or none', async () => {
  const directory = await tempDirectory();
  const passphraseFile = join(directory, 'passphrase');
  await writeFile(passphraseFile, 'correct horse');
  const { image, disk } = await demoImage('tiny-systemd-boot-luks-systemd', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
    encrypt: { passphraseFile, keyDerivation: { type: 'pbkdf2', iterations: 1000 } },
  });
  const bind = async (name: string, pcrs: string) => {
    const [bound, state] = [join(directory, `${name}.img`), join(directory, `tpm-${name}`)];
    await run(['cp', '--sparse=always', image, bound]);
    await bindToTpm(directory, bound, disk.root, { passphrase: 'correct horse', state, pcrs });
    return { image: bound, firmware: 'efi', tpm: { stateDirectory: state } } as const;
  };
  const bound = await bind('bound', '');
  const { partitions } = await inspectImage({ image: bound.image });
  expect(partitions[1]?.encryption).toMatchObject({ tokens: ['systemd-tpm2'], keySlots: [{ id: 0 }, { id: 1 }] });
  const good = await verifyBoot({ ...bound, checks: [checkEncrypted({ name: 'cryptroot' }), checkTpm] });
  expect(good.failure).toBeUndefined();
  expect(good.typed.map(({ line }) => line.trim())).toEqual(['tiny login:']);
  const measured = await bind('measured', '7');
  for (const [options, cause] of [
    [{ ...bound, tpm: true }, /another TPM, or its measurements/],
    [{ ...bound, tpm: false }, /the machine has no TPM/],
    [measured, /another TPM, or its measurements \(PCRs\) changed/],
  ] as const) {
    const { failure } = await verifyBoot(options);
    expect(failure).toMatchObject({ name: 'tpm-not-unlocked', stage: 'stage 1', cause: expect.stringMatching(cause) });
  }
});

test('the checks fail in a machine without what they check', async () => {
  const { image } = await demoImage('tiny-systemd-boot', { partitionTableType: 'efi', bootLoaderFrom: 'bootspec' });
  const report = await verifyBoot({ image, firmware: 'efi', checks: [checkTpm, checkEncrypted(), checkLockdown] });
  expect(report.checks.map(({ ok }) => ok)).toEqual([false, false, false]);
  expect(report.checks.map(({ message }) => message)).toEqual([
    expect.stringMatching(/a TPM: expected "2", found .*tpm0/),
    expect.stringMatching(/the device of \/: expected "one that dm-crypt opened", found "none"/),
    expect.stringMatching(/lockdown mode: expected "integrity or confidentiality", found "none"/),
  ]);
});
