import { createDecipheriv, createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../../../harness/cache-directory.ts';
import { diffImages } from '../../../../lib/diff/diff-images.ts';
import type { RootFilesystem } from '../../../../lib/filesystem/root-filesystem.ts';
import { LUKS_HEADER_BYTES, luksPayload } from '../../../../lib/formats/luks.ts';
import { type InspectImageOptions, inspectImage } from '../../../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import {
  type EncryptedPartition,
  type EncryptPartitionOptions,
  encryptPartition,
} from '../../../../lib/steps/encrypt-partition.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { type PartitionedDisk, partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB, SECTOR_BYTES } from '../../../../lib/units.ts';
import { HOSTILE_NAMES } from '../../../helpers/hostile-names.ts';
import { run } from '../../../helpers/run.ts';
import { inSmallTmpfs } from '../../../helpers/small-tmpfs.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const FAST = { type: 'pbkdf2', iterations: 1000 } as const;
const MARKER = 'a line that nobody may read in the image';
const DELETED = 'a line that was deleted before';

interface Disk {
  readonly directory: string;
  readonly image: string;
  readonly disk: PartitionedDisk<'efi'>;
  readonly passphraseFile: string;
}

/** A disk with a filesystem where encryptPartition expects it. */
async function makeDisk(fsType: RootFilesystem = 'ext4', name = 'disk.img'): Promise<Disk> {
  const directory = await tempDirectory();
  const populateFrom = join(directory, 'root');
  await mkdir(join(populateFrom, 'etc'), { recursive: true });
  await writeFile(join(populateFrom, 'etc/marker'), `${MARKER}\n`.repeat(5000));
  await writeFile(join(populateFrom, 'zeros'), Buffer.alloc(3 * MIB));
  const image = join(directory, name);
  await createDisk({ image, sizeBytes: (fsType === 'xfs' ? 448 : 224) * MIB });
  const disk = await partitionDisk({ image, partitionTableType: 'efi', bootSize: '64M' });
  await makeFilesystem({ image, partition: luksPayload(disk.root), fsType, populateFrom });
  const passphraseFile = join(directory, 'passphrase');
  await writeFile(passphraseFile, 'correct horse battery\n');
  return { directory, image, disk, passphraseFile };
}

function encrypt({ image, disk, passphraseFile }: Disk, more: Partial<EncryptPartitionOptions> = {}) {
  return encryptPartition({ image, partition: disk.root, passphraseFile, keyDerivation: FAST, ...more });
}

function inspect({ image, passphraseFile }: Disk, more: Partial<InspectImageOptions> = {}) {
  return inspectImage({ image, passphraseFile, ...more });
}

/** The partition in a file of its own, for programs that take no offset. */
async function takeOut({ directory, image, disk }: Disk): Promise<string> {
  const file = join(directory, 'partition.img');
  await rm(file, { force: true });
  await run([
    ...['dd', `if=${image}`, `of=${file}`, 'bs=1M', `skip=${disk.root.offsetBytes / MIB}`, 'conv=sparse'],
    ...[`count=${disk.root.sizeBytes / MIB}`, 'status=none'],
  ]);
  return file;
}

async function opens(file: string, passphrase: string): Promise<boolean> {
  const { exitCode } = await localExecutor.run(
    ['cryptsetup', '--disable-locks', 'open', '--test-passphrase', '--key-file', '-', file],
    { input: passphrase },
  );
  return exitCode === 0;
}

/** Decrypts the blocks with OpenSSL's XTS, and leaves those that are zero. */
async function decrypt(directory: string, file: string, { sectorBytes }: EncryptedPartition): Promise<string> {
  const key = join(directory, 'volume-key');
  await rm(key, { force: true });
  await localExecutor.run(
    [
      ...['cryptsetup', '--disable-locks', '-q', 'luksDump', '--dump-volume-key', '--volume-key-file', key],
      ...['--key-file', '-', file],
    ],
    { input: 'correct horse battery' },
  );
  const volumeKey = await readFile(key);
  const sealed = (await readFile(file)).subarray(LUKS_HEADER_BYTES);
  const plain = Buffer.alloc(sealed.length);
  const zeros = Buffer.alloc(4096);
  for (let at = 0; at < sealed.length; at += 4096) {
    if (sealed.compare(zeros, 0, 4096, at, at + 4096) === 0) continue;
    for (let sector = at; sector < at + 4096; sector += sectorBytes) {
      const tweak = Buffer.alloc(16);
      tweak.writeBigUInt64LE(BigInt(sector / 512));
      createDecipheriv('aes-256-xts', volumeKey, tweak)
        .update(sealed.subarray(sector, sector + sectorBytes))
        .copy(plain, sector);
    }
  }
  const target = join(directory, 'plain.img');
  await writeFile(target, plain);
  return target;
}

test.each([
  ['ext4', 4096, ['e2fsck', '-fn']],
  ['ext4', 512, ['e2fsck', '-fn']],
  ['btrfs', 4096, ['btrfs', 'check', '--readonly']],
  ['xfs', 512, ['xfs_repair', '-n', '-f']],
  ['f2fs', 4096, ['fsck.f2fs', '--dry-run']],
] as const)('%s in sectors of %d bytes: cryptsetup opens it, and the content is the same', async (fsType, sectorSize, checker) => {
  const made = await makeDisk(fsType);
  const before = await readFile(made.image);
  const { offsetBytes, sizeBytes } = luksPayload(made.disk.root);
  const result = await encrypt(made, { sectorSize });
  expect(result).toMatchObject({ sectorBytes: sectorSize, cipher: 'aes-xts-plain64', isSecondCopy: false });
  const after = await readFile(made.image);
  expect(after.includes(MARKER)).toBe(false);
  expect(after.subarray(0, made.disk.root.offsetBytes).equals(before.subarray(0, made.disk.root.offsetBytes))).toBe(
    true,
  );
  expect(after.subarray(offsetBytes + sizeBytes).equals(before.subarray(offsetBytes + sizeBytes))).toBe(true);
  const file = await takeOut(made);
  expect(await opens(file, 'correct horse battery')).toBe(true);
  expect(await opens(file, 'correct horse battery\n')).toBe(false);
  const plain = await decrypt(made.directory, file, result);
  await run([...checker, plain]);
  expect((await readFile(plain)).equals(before.subarray(offsetBytes, offsetBytes + sizeBytes))).toBe(true);
  const { findings } = await inspect(made, { deep: true }).then(({ findings: all }) => ({
    findings: all.filter(({ stage }) => stage === 'stage 1'),
  }));
  expect(findings).toEqual([]);
});

test('an ext4 stays sparse, its zeros in use are encrypted, and what was deleted is too', async () => {
  const made = await makeDisk();
  const { offsetBytes, sizeBytes } = luksPayload(made.disk.root);
  const script = join(made.directory, 'debugfs');
  await writeFile(join(made.directory, 'deleted'), `${DELETED}\n`.repeat(5000));
  await writeFile(script, `write "${made.directory}/deleted" deleted\nrm deleted\n`);
  await run(['debugfs', '-w', '-f', script, `${made.image}?offset=${offsetBytes}`]);
  expect((await readFile(made.image)).includes(DELETED)).toBe(true);
  const { encryptedBytes } = await encrypt(made);
  expect((await readFile(made.image)).includes(DELETED)).toBe(false);
  const { blocks } = await stat(made.image);
  expect(encryptedBytes).toBeGreaterThan(3 * MIB);
  expect(encryptedBytes).toBeLessThan(sizeBytes / 4);
  expect(blocks * SECTOR_BYTES).toBeLessThan(encryptedBytes + LUKS_HEADER_BYTES + 8 * MIB);
});

test('free space is encrypted as well when that is asked for', async () => {
  const made = await makeDisk();
  const { encryptedBytes, payload } = await encrypt(made, { encryptFreeSpace: true });
  expect(encryptedBytes).toBe(payload.sizeBytes);
  const sealed = (await readFile(made.image)).subarray(payload.offsetBytes, payload.offsetBytes + payload.sizeBytes);
  const zeros = Buffer.alloc(4096);
  for (let at = 0; at < sealed.length; at += 4096)
    expect(sealed.compare(zeros, 0, 4096, at, at + 4096) === 0, `block at ${at}`).toBe(false);
});

test('each passphrase opens it, and so does the recovery key, which systemd knows', async () => {
  const made = await makeDisk();
  const more = join(made.directory, 'more');
  await writeFile(more, 'zwei Wörter');
  const recoveryKeyFile = join(made.directory, 'recovery');
  const result = await encrypt(made, {
    morePassphraseFiles: [more],
    recoveryKeyFile,
    label: 'a label',
    uuid: 'F222513B-DED1-49FA-B591-20CE86A2FE7F',
  });
  expect(result).toMatchObject({
    ...{ uuid: 'f222513b-ded1-49fa-b591-20ce86a2fe7f', label: 'a label', tokens: ['systemd-recovery'] },
    keySlots: [{ id: 0 }, { id: 1 }, { id: 2 }],
  });
  const recoveryKey = (await readFile(recoveryKeyFile, 'utf8')).trimEnd();
  expect(recoveryKey).toMatch(/^(?:[cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}$/);
  expect((await stat(recoveryKeyFile)).mode & 0o777).toBe(0o600);
  const file = await takeOut(made);
  for (const passphrase of ['correct horse battery', 'zwei Wörter', recoveryKey])
    expect(await opens(file, passphrase)).toBe(true);
  expect(await opens(file, 'another')).toBe(false);
  const { partitions } = await inspect(made, { passphraseFile: more });
  expect(partitions[1]?.encryption).toMatchObject({ filesystem: { type: 'ext4', label: 'nixos' } });
});

test('the same volume key gives the same encrypted content, and another header', async () => {
  const made = await makeDisk();
  const volumeKeyFile = join(made.directory, 'key');
  await writeFile(volumeKeyFile, Buffer.alloc(64, 7));
  const other = { ...made, image: join(made.directory, 'other.img') };
  await copyFile(made.image, other.image);
  await encrypt(made, { volumeKeyFile });
  await encrypt(other, { volumeKeyFile });
  expect(await diffImages({ a: made.image, b: other.image })).toEqual([
    ...['uuid', 'salts and key slots'].map((field) =>
      expect.objectContaining({ where: 'partition 2 (crypto_LUKS)', what: 'LUKS header', field }),
    ),
  ]);
  const [a, b] = [await readFile(made.image), await readFile(other.image)];
  const start = made.disk.root.offsetBytes;
  const header = (bytes: Buffer): Buffer => bytes.subarray(start, start + LUKS_HEADER_BYTES);
  expect(header(a).equals(header(b))).toBe(false);
  header(a).fill(0);
  header(b).fill(0);
  expect(a.equals(b)).toBe(true);
});

test('argon2id with the given memory, not with what this host has', async () => {
  const made = await makeDisk();
  const { keySlots } = await encrypt(made, { keyDerivation: { memory: '32M', iterations: 5 } });
  expect(keySlots).toEqual([{ id: 0, keyDerivation: 'argon2id', memoryBytes: 32 * MIB, iterations: 5 }]);
});

test.each([
  ['an empty passphrase', { passphraseFile: '' }, /passphraseFile: .* is empty/],
  ['a newline as passphrase', { passphraseFile: '\n' }, /passphraseFile: .* is empty/],
  ['two lines', { passphraseFile: 'a\nb\n' }, /passphraseFile: .* several lines/],
  ['a long passphrase', { passphraseFile: 'x'.repeat(600) }, /passphraseFile: .* longer than/],
  ['a short volume key', { volumeKeyFile: 'x'.repeat(32) }, /volumeKeyFile: .* has 32 bytes/],
  [
    'a recovery key that exists',
    { recoveryKeyFile: 'x' },
    /recoveryKeyFile: .* exists already, and is not overwritten/,
  ],
] as const)('%s is refused, and nothing is written', async (_, files, message) => {
  const made = await makeDisk();
  const options: Record<string, string> = {};
  for (const [name, content] of Object.entries(files)) {
    options[name] = join(made.directory, name);
    await writeFile(options[name], content);
  }
  const before = await readFile(made.image);
  await expect(encrypt(made, options)).rejects.toThrow(message);
  expect((await readFile(made.image)).equals(before)).toBe(true);
});

test('what does not fit is refused: a secret in the Nix store, a filesystem at the start, a second encryption, an xfs', async () => {
  const made = await makeDisk('xfs');
  await expect(encrypt(made, { passphraseFile: '/nix/store/x' })).rejects.toThrow(/in the Nix store/);
  await expect(encrypt(made, { sectorSize: 4096 })).rejects.toThrow(/sectorSize: 4096 is more than the 512 of the xfs/);
  await expect(
    encrypt({ ...made, disk: { ...made.disk, root: { ...made.disk.root, sizeBytes: MIB } } }, { sectorSize: 512 }),
  ).rejects.toThrow(/partition: has 1048576 bytes/);
  await encrypt(made, { sectorSize: 512 });
  await expect(encrypt(made, { sectorSize: 512 })).rejects.toThrow(/is encrypted already/);
  await makeFilesystem({ image: made.image, partition: made.disk.root });
  await expect(encrypt(made)).rejects.toThrow(/has data in its first 16 MiB[\s\S]*luksPayload/);
});

test.each(HOSTILE_NAMES)('an image and a passphrase file named %j', async (name) => {
  const made = await makeDisk('ext4', name);
  const secrets = join(made.directory, 'secrets');
  await mkdir(secrets);
  const passphraseFile = join(secrets, name);
  await writeFile(passphraseFile, 'correct horse battery');
  await encrypt({ ...made, passphraseFile });
  expect((await inspectImage({ image: made.image, passphraseFile })).partitions[1]?.encryption?.filesystem?.type).toBe(
    'ext4',
  );
});

test('a header of which one copy is damaged, or both, or all key slots', async () => {
  const made = await makeDisk();
  await encrypt(made);
  const start = made.disk.root.offsetBytes;
  const find = async () =>
    (await inspect(made).catch(() => inspectImage({ image: made.image }))).findings.map(
      ({ code, severity }) => `${code} ${severity}`,
    );
  const overwrite = async (at: number, length: number): Promise<void> => {
    await using handle = await open(made.image, 'r+');
    await handle.write(Buffer.alloc(length, 0xff), 0, length, start + at);
  };
  await overwrite(0, 4096);
  expect(await find()).toContain('luks-header-damaged warning');
  expect((await inspect(made)).partitions[1]?.encryption).toMatchObject({
    isSecondCopy: true,
    filesystem: { type: 'ext4' },
  });
  await overwrite(32_768, LUKS_HEADER_BYTES - 32_768);
  await expect(inspect(made)).rejects.toThrow(/opens no key slot/);
  await overwrite(16_384 + 4096, 64);
  expect(await find()).toContain('luks-header-damaged fatal');
});

test('an image of another builder: sectors that do not divide the partition, a detached header, a key derivation of hours', async () => {
  const made = await makeDisk();
  await encrypt(made);
  const { offsetBytes, sizeBytes } = made.disk.root;
  const file = await takeOut(made);
  const header = join(made.directory, 'header.img');
  const put = async (from: string): Promise<void> => {
    await run([
      ...['dd', `if=${from}`, `of=${made.image}`, 'bs=1M', `seek=${offsetBytes / MIB}`],
      ...[`count=${LUKS_HEADER_BYTES / MIB}`, 'conv=notrunc', 'status=none'],
    ]);
  };
  const format = (...argv: string[]) =>
    run(
      ['cryptsetup', '--disable-locks', '--batch-mode', 'luksFormat', '--type', 'luks2', '--key-file', '-', ...argv],
      { input: 'correct horse battery' },
    );
  const cheap = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  const codes = async (more: Partial<InspectImageOptions> = {}) =>
    (await inspect(made, more)).findings.filter(({ stage }) => stage === 'stage 1').map(({ code }) => code);
  // The file has whole sectors of 4096 bytes, and the partition has one of 512 bytes more.
  await run(['truncate', '-s', `${Math.floor(sizeBytes / 4096) * 4096}`, file]);
  const sectors = Math.floor(sizeBytes / 4096) * 8 - 7;
  await run(['sfdisk', '--no-reread', '--no-tell-kernel', '--quiet', '-N', '2', made.image], { input: `, ${sectors}` });
  await format('--sector-size', '4096', ...cheap, file);
  await put(file);
  expect(await codes()).toContain('luks-not-aligned');
  await writeFile(header, Buffer.alloc(LUKS_HEADER_BYTES));
  await format('--sector-size', '512', '--header', header, ...cheap, file);
  await put(header);
  expect(await codes()).toEqual(['luks-not-supported']);
  await format('--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--sector-size', '512', file);
  // cryptsetup would have to compute for hours to make it.
  const bytes = await readFile(file);
  for (const at of [0, 0x4000]) {
    const copy = bytes.subarray(at, at + 0x4000);
    const json = copy.toString('latin1', 4096).replace('"iterations":1000', '"iterations":2000000000');
    copy.fill(0, 4096).write(json.slice(0, 0x3000), 4096, 'latin1');
    copy.fill(0, 448, 512);
    createHash('sha256').update(copy).digest().copy(copy, 448);
  }
  await writeFile(file, bytes);
  await put(file);
  const startedAt = performance.now();
  const { findings } = await inspect(made, { timeoutMs: 3000 });
  expect(findings.map(({ message }) => message)).toContainEqual(
    expect.stringMatching(/not looked at further: the encrypted data of partition 2: the time limit/),
  );
  expect(performance.now() - startedAt).toBeLessThan(60_000);
});

test('nothing encrypted, or another passphrase, is said', async () => {
  const made = await makeDisk();
  await expect(inspect(made)).rejects.toThrow(/passphraseFile: no partition of the image has a LUKS2 header/);
  await encrypt(made);
  const wrong = join(made.directory, 'wrong');
  await writeFile(wrong, 'wrong');
  await expect(inspectImage({ image: made.image, passphraseFile: wrong })).rejects.toThrow(/opens no key slot/);
});

test('the passphrase and the volume key are in no event and in no other file', async () => {
  const made = await makeDisk();
  const events: unknown[] = [];
  await encryptPartition(
    { image: made.image, partition: made.disk.root, passphraseFile: made.passphraseFile, keyDerivation: FAST },
    { onEvent: (event) => events.push(event) },
  );
  expect(JSON.stringify(events)).not.toContain('correct horse');
  const found = await run(['find', made.directory, '-mindepth', '1', '-maxdepth', '1', '-printf', '%f\n']);
  expect(found.trim().split('\n').sort()).toEqual(['disk.img', 'passphrase', 'root']);
  await chmod(made.passphraseFile, 0o600);
});

test.each([
  20, 40, 60, 80,
])('in a host filesystem with little room: an error with bytes, and no file is left', async (percent) => {
  const made = await makeDisk();
  const small = join(made.directory, 'small');
  await mkdir(small);
  const { blocks } = await stat(made.image);
  // Between what the image has already and what it will have.
  const bytes = blocks * SECTOR_BYTES + Math.round(((32 + 12) * MIB * percent) / 100);
  const options = { image: join(small, 'disk.img'), partition: made.disk.root, keyDerivation: FAST };
  const script = join(made.directory, 'encrypt.mjs');
  await writeFile(
    script,
    `import { execFileSync } from 'node:child_process';
     import { encryptPartition } from ${JSON.stringify(packageFile('dist/lib/index.js'))};
     execFileSync('cp', ['--sparse=always', ${JSON.stringify(made.image)}, ${JSON.stringify(options.image)}]);
     await encryptPartition(${JSON.stringify({ ...options, passphraseFile: made.passphraseFile })}).then(
       () => console.log('done'),
       (error) => console.log(error.code, error.neededBytes, error.availableBytes),
     );`,
  );
  const { stdout } = await inSmallTmpfs(small, `${bytes}`, [process.execPath, script]);
  const [said, ...left] = stdout.toString('utf8').trim().split('\n');
  expect(said).toMatch(/^E_NO_SPACE \d+ \d+$/);
  expect(left).toEqual(['disk.img']);
});
