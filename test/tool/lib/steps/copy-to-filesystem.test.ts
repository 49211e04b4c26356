import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import {
  InvalidOptionsError,
  NoSpaceError,
  ToolFailedError,
  ToolMissingError,
  UnexpectedStateError,
} from '../../../../lib/run/errors.ts';
import { copyToFilesystem } from '../../../../lib/steps/copy-to-filesystem.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../../lib/steps/make-filesystem.ts';
import { MIB } from '../../../../lib/units.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// No Debian package has cptofs. These programs replace it and fail as the real one was observed to: with exit status 0. The tests
// check how the step handles that, on a real filesystem.

const path = process.env.PATH;
afterEach(() => {
  process.env.PATH = path;
});

async function withCptofs(script: string): Promise<{ image: string; source: string }> {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  const source = join(directory, 'source');
  const bin = join(directory, 'bin');
  await mkdir(join(source, 'deep'), { recursive: true });
  await mkdir(bin);
  await writeFile(join(source, 'file'), 'content');
  await writeFile(join(source, 'deep/leaf'), 'leaf');
  await writeFile(join(bin, 'cptofs'), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, 'cptofs'), 0o755);
  process.env.PATH = `${bin}${delimiter}${path}`;
  await createDisk({ image, sizeBytes: 16 * MIB });
  await makeFilesystem({ image, partition: { offsetBytes: 0, sizeBytes: 16 * MIB } });
  return { image, source };
}

const partition = { number: 0, offsetBytes: 0 };
/** Copies with debugfs what cptofs would copy; $6 is the source in `cptofs -p -t ext4 -i IMAGE SOURCE /`. */
const COPY = `debugfs -w -R "mkdir source" "$5" && debugfs -w -R "write '$6/file' source/file" "$5"`;

test('a complete copy is counted', async () => {
  const { image, source } = await withCptofs(
    `cd "$6/.." && printf 'mkdir source\\nmkdir source/deep\\nwrite source/file source/file\\nwrite source/deep/leaf source/deep/leaf\\n' | debugfs -w -f - "$5"`,
  );
  expect(await copyToFilesystem({ image, partition, sources: [source] })).toMatchObject({ count: 4 });
});

test('an incomplete copy is detected, with any exit status', async () => {
  const { image, source } = await withCptofs(
    `cd "$6/.." && printf 'mkdir source\\nwrite source/file source/file\\n' | debugfs -w -f - "$5"`,
  );
  await expect(copyToFilesystem({ image, partition, sources: [source] })).rejects.toThrow(UnexpectedStateError);
});

test.each([
  ['error processing entry /x, aborting', ToolFailedError],
  ['skipping /x: unsupported entry type 1000', ToolFailedError],
  ['unable to open file /x for writing: Permission denied', ToolFailedError],
  ['error writing file: No space left on device', NoSpaceError],
])('the message "%s" is a failure', async (words, kind) => {
  const { image, source } = await withCptofs(
    `echo "[    0.1] unable to open file: a kernel line is none" ; echo "${words}" >&2`,
  );
  await expect(copyToFilesystem({ image, partition, sources: [source] })).rejects.toThrow(kind);
});

test('sources with names that it cannot express are refused', async () => {
  const { image } = await withCptofs(COPY);
  const attempt = copyToFilesystem({ image, partition, sources: ['.', '/', '/tmp/a*b', '/nonexistent'] });
  await expect(attempt).rejects.toThrow(InvalidOptionsError);
  await expect(attempt).rejects.toMatchObject({
    issues: [{ path: 'sources[0]' }, { path: 'sources[1]' }, { path: 'sources[2]' }, { path: 'sources[3]' }],
  });
});

test('a missing cptofs is reported', async () => {
  const { image, source } = await withCptofs(COPY);
  process.env.PATH = path;
  await expect(copyToFilesystem({ image, partition, sources: [source] })).rejects.toThrow(ToolMissingError);
});
