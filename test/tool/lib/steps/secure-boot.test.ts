import { chmod, copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readVariables } from '../../../../lib/formats/efi-variables.ts';
import { secureBootKeys } from '../../../../lib/formats/secure-boot/trust.ts';
import { inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import type { Executor } from '../../../../lib/run/executor.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { enrollSecureBootKeys } from '../../../../lib/steps/enroll-secure-boot-keys.ts';
import { generateSecureBootKeys } from '../../../../lib/steps/generate-secure-boot-keys.ts';
import { makeUki } from '../../../../lib/steps/make-uki.ts';
import { prepareKeyEnrollment } from '../../../../lib/steps/prepare-key-enrollment.ts';
import { signEfiProgram } from '../../../../lib/steps/sign-efi-program.ts';
import { demoImage } from '../../../helpers/demo-image.ts';
import { HOSTILE_NAMES } from '../../../helpers/hostile-names.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const SYSTEMD = '/usr/lib/systemd/boot/efi';
const VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd';

test('keys are laid out as sbctl keeps them, readable for their owner alone, and never replaced', async () => {
  const directory = join(await tempDirectory(), 'keys of mine');
  const { db, platformKey, owner } = await generateSecureBootKeys({ directory });
  expect(await readFile(join(directory, 'GUID'), 'utf8')).toBe(owner);
  expect(db.key).toBe(join(directory, 'keys/db/db.key'));
  expect((await stat(platformKey.key)).mode & 0o777).toBe(0o600);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  await expect(generateSecureBootKeys({ directory })).rejects.toThrow(/directory: .* is not empty/);
  // What a failure leaves would be in the way.
  const other = join(await tempDirectory(), 'new');
  let calls = 0;
  const executor: Executor = {
    ...localExecutor,
    run: (argv, options) => localExecutor.run(++calls === 3 ? ['false'] : argv, options),
  };
  await expect(generateSecureBootKeys({ directory: other }, { executor })).rejects.toThrow(/cannot make the key db/);
  expect(await readdir(dirname(other))).toEqual([]);
  await expect(generateSecureBootKeys({ directory: '/nix/store/x' })).rejects.toThrow(/Nix store/);
});

describe('signEfiProgram', () => {
  test('sbverify agrees, two runs give the same bytes, and a second signature by the same key is not added', async () => {
    const directory = await tempDirectory();
    const { db, platformKey } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
    const program = join(directory, 'loader.efi');
    await copyFile(join(SYSTEMD, 'systemd-bootx64.efi'), program);
    for (const name of ['a.efi', 'b.efi']) await signEfiProgram({ program, target: join(directory, name), ...db });
    const [a, b] = await Promise.all(['a.efi', 'b.efi'].map((name) => readFile(join(directory, name))));
    expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
    const target = join(directory, 'a.efi');
    expect(await run(['sbverify', '--cert', db.certificate, target])).toContain('verification OK');
    expect(await signEfiProgram({ program: target, target, ...db })).toMatchObject({ count: 1 });
    expect(await signEfiProgram({ program: target, target, ...platformKey })).toMatchObject({
      ...{ count: 2, signer: 'CN=nixos-disk-image PK' },
    });
  });

  test('what cannot be used is refused by its option', async () => {
    const directory = await tempDirectory();
    const { db, platformKey } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
    const text = join(directory, 'text');
    await writeFile(text, 'hello');
    const target = join(directory, 'signed.efi');
    const program = join(SYSTEMD, 'systemd-bootx64.efi');
    await expect(signEfiProgram({ program: text, target, ...db })).rejects.toThrow(/program: .*not an EFI program/);
    await expect(signEfiProgram({ program, target, ...db, key: platformKey.key })).rejects.toThrow(
      /key: .*not the private key/,
    );
    await expect(signEfiProgram({ program, target, ...db, certificate: text })).rejects.toThrow(/certificate: .*PEM/);
    const locked = join(directory, 'locked.key');
    await run(['openssl', 'pkey', '-in', db.key, '-aes256', '-passout', 'pass:x', '-out', locked]);
    await expect(signEfiProgram({ program, target, ...db, key: locked })).rejects.toThrow(
      /encrypted with a passphrase/,
    );
  });
});

test.each(HOSTILE_NAMES)('a program, its key and its image may be called %j', async (name) => {
  const directory = join(await tempDirectory(), name);
  const { db } = await generateSecureBootKeys({ directory });
  const [stub, kernel] = [join(SYSTEMD, 'linuxx64.efi.stub'), join(SYSTEMD, 'systemd-bootx64.efi')];
  const target = join(directory, name);
  await makeUki({ stub, kernel, osRelease: 'ID=x\n', target });
  await signEfiProgram({ program: target, target, ...db });
  await enrollSecureBootKeys({ variables: VARIABLES, target, platformKey: db.certificate, db: [db.certificate] });
  await prepareKeyEnrollment({ directory, platformKey: db, keyExchangeKey: db, db });
  expect((await readdir(join(directory, 'loader/keys/auto'))).length).toBe(3);
  expect(await readdir(directory)).not.toContain('ran');
});

test('a unified kernel image has its sections, is the same each time, and can be signed', async () => {
  const directory = await tempDirectory();
  const { db } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
  for (const name of ['first', 'second']) await writeFile(join(directory, name), `${name}\n`.repeat(3000));
  const parts = {
    ...{ stub: join(SYSTEMD, 'linuxx64.efi.stub'), kernel: join(SYSTEMD, 'systemd-bootx64.efi') },
    initrds: ['first', 'second'].map((name) => join(directory, name)),
    ...{ commandLine: 'root=LABEL=nixos quiet', osRelease: 'ID=nixos\nPRETTY_NAME="NixOS"\n' },
  };
  const target = join(directory, 'uki.efi');
  await makeUki({ ...parts, target });
  await makeUki({ ...parts, target: join(directory, 'again.efi') });
  expect((await readFile(target)).equals(await readFile(join(directory, 'again.efi')))).toBe(true);
  const section = async (name: string): Promise<string> => {
    const file = join(directory, 'section');
    await run(['objcopy', '--dump-section', `${name}=${file}`, target, join(directory, 'copy.efi')]);
    return readFile(file, 'latin1');
  };
  expect(await section('.cmdline')).toContain('root=LABEL=nixos quiet');
  expect(await section('.initrd')).toContain('first\nsecond\n');
  await signEfiProgram({ program: target, target, ...db });
  expect(await run(['sbverify', '--cert', db.certificate, target])).toContain('verification OK');
  await expect(makeUki({ ...parts, stub: target, target: join(directory, 'no.efi') })).rejects.toThrow(/already/);
});

test('keys are enrolled into a store once, and what is not a store is refused', async () => {
  const directory = await tempDirectory();
  const { db, platformKey, keyExchangeKey, owner } = await generateSecureBootKeys({
    directory: join(directory, 'keys'),
  });
  const target = join(directory, 'vars.fd');
  const keys = {
    ...{ platformKey: platformKey.certificate, keyExchangeKeys: [keyExchangeKey.certificate] },
    ...{ db: [db.certificate], owner },
  };
  await enrollSecureBootKeys({ variables: VARIABLES, target, ...keys });
  const variables = readVariables(await readFile(target)) ?? [];
  expect(variables.map(({ name }) => name)).toEqual(['PK', 'KEK', 'db', 'dbx', 'SecureBootEnable', 'CustomMode']);
  expect(secureBootKeys(variables)).toMatchObject({ isSetupMode: false, db: { certificates: [expect.anything()] } });
  await expect(enrollSecureBootKeys({ variables: target, target, ...keys })).rejects.toThrow(/has a PK already/);
  await expect(enrollSecureBootKeys({ variables: db.key, target, ...keys })).rejects.toThrow(/not a store/);
});

test('updates for systemd-boot are the same each time, and hold no private key', async () => {
  const directory = await tempDirectory();
  const keys = await generateSecureBootKeys({ directory: join(directory, 'keys') });
  const made = [];
  for (const name of ['a', 'b']) {
    await mkdir(join(directory, name, 'loader'), { recursive: true });
    await writeFile(join(directory, name, 'loader/loader.conf'), 'timeout 0\n');
    await prepareKeyEnrollment({ directory: join(directory, name), ...keys });
    const auto = join(directory, name, 'loader/keys/auto');
    expect((await readdir(auto)).sort()).toEqual(['KEK.auth', 'PK.auth', 'db.auth']);
    made.push(await readFile(join(auto, 'db.auth'), 'hex'));
    expect(await readFile(join(directory, name, 'loader/loader.conf'), 'utf8')).toBe(
      'timeout 0\nsecure-boot-enroll force\n',
    );
  }
  expect(made[0]).toBe(made[1]);
});

test('inspect names the signers of a program, and what firmware with given keys makes of it', async () => {
  const directory = await tempDirectory();
  const { db, platformKey } = await generateSecureBootKeys({ directory: join(directory, 'keys') });
  const { image } = await demoImage('tiny-systemd-boot', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', additionalSpace: '64M', secureBoot: db },
  });
  const stores: string[] = [];
  for (const [index, certificate] of [db.certificate, platformKey.certificate].entries()) {
    stores.push(join(directory, `vars-${index}.fd`));
    const target = join(directory, `vars-${index}.fd`);
    await enrollSecureBootKeys({ variables: VARIABLES, target, platformKey: certificate, db: [certificate] });
  }
  const good = await inspectImage({ image, efiVariables: stores[0] });
  expect(good.findings).toEqual([]);
  expect(good.efi.programs.map(({ trust }) => trust)).toEqual(good.efi.programs.map(() => 'trusted'));
  expect(good.efi.programs[0]?.signatures).toMatchObject([{ signer: 'CN=nixos-disk-image db', hashMatches: true }]);
  expect(good.efi.bootEntries.every(({ linux }) => linux.startsWith('EFI/Linux/'))).toBe(true);
  const digest = await authenticodeDigest(image, good.partitions.find(({ purpose }) => purpose === 'esp')?.offsetBytes);
  for (const dbx of [{ certificates: [db.certificate] }, { digests: [digest] }]) {
    const target = join(directory, 'revoked.fd');
    const { certificate } = db;
    await enrollSecureBootKeys({ variables: VARIABLES, target, platformKey: certificate, db: [certificate], dbx });
    const { findings } = await inspectImage({ image, efiVariables: target });
    expect(findings[0]).toMatchObject({
      code: 'secure-boot-revoked',
      message: expect.stringMatching(/BOOTX64\.EFI.*dbx/),
    });
  }
  const other = await inspectImage({ image, efiVariables: stores[1] });
  expect(other.findings.map(({ code }) => code)).toEqual(['secure-boot-untrusted', 'secure-boot-untrusted']);
  const changed = join(directory, 'changed.img');
  await copyFile(image, changed);
  await chmod(changed, 0o600);
  const esp = good.partitions.find(({ purpose }) => purpose === 'esp');
  const loader = join(directory, 'BOOTX64.EFI');
  const place = ['-i', `${changed}@@${esp?.offsetBytes}`];
  await run(['mcopy', ...place, '::/EFI/BOOT/BOOTX64.EFI', loader]);
  const bytes = await readFile(loader);
  bytes[5000] = (bytes[5000] ?? 0) ^ 1;
  await writeFile(loader, bytes);
  await run(['mcopy', '-o', ...place, loader, '::/EFI/BOOT/BOOTX64.EFI']);
  const found = await inspectImage({ image: changed, efiVariables: stores[0] });
  expect(found.findings.map(({ code }) => code)).toEqual(['secure-boot-changed']);
  expect((await inspectImage({ image: changed })).findings.map(({ code }) => code)).toEqual(['signature-invalid']);
});

/** What hash-to-efi-sig-list(1) says of the loader of an image. */
async function authenticodeDigest(image: string, offsetBytes: number | undefined): Promise<string> {
  const directory = await tempDirectory();
  const loader = join(directory, 'loader.efi');
  await run(['mcopy', '-i', `${image}@@${offsetBytes}`, '::/EFI/BOOT/BOOTX64.EFI', loader]);
  const said = await run(['hash-to-efi-sig-list', loader, join(directory, 'list')]);
  return /HASH IS ([0-9a-f]{64})/.exec(said)?.[1] ?? '';
}
