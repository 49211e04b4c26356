import { link, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeOutput } from '../../../cli/output-files.ts';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { MIB } from '../../../lib/units.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { GOOD_BOOT } from '../../helpers/boot-reports.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

test.each([
  ['--help'],
  ['schema'],
  ['doctor', '--json'],
])('output that cannot be written is a failure: %s', async (...args) => {
  const script = 'exec "$@" > /dev/full';
  const command = [process.execPath, packageFile('dist/cli/main.js'), ...args];
  const { exitCode, stderr } = await localExecutor.run(['sh', '-c', script, 'sh', ...command], {
    env: { NIXOS_DISK_IMAGE_ACCEL: 'tcg' },
  });
  expect(stderr.toString('utf8')).toBe('standard output cannot be written: no space is left\n');
  expect(exitCode).toBe(3);
});

test('it ends silently if its reader closes the pipe', async () => {
  const command = [process.execPath, packageFile('dist/cli/main.js'), 'schema'];
  const script = '{ "$@"; echo "status $?" >&2; } | head -c 1';
  const { stderr } = await localExecutor.run(['sh', '-c', script, 'sh', ...command]);
  expect(stderr.toString('utf8')).toMatch(/^status \d+\n$/);
});

const BOOT = {
  ...{ image: 'a', firmware: 'bios', architecture: 'x86_64', accelerator: 'tcg', durationMs: 1 },
  timeline: [{ stage: 'kernel', atMs: 0 }],
};
test.each([
  ['no JSON', 'GOOD  nixos.img', 'is not what verify --json writes'],
  ['what another command writes', '{"image":"nixos.img"}', 'is not what verify --json writes'],
  ['no boots', '[]', 'is not what verify --json writes'],
  [
    'a stage that there is not',
    JSON.stringify([{ ...BOOT, timeline: [{ stage: 'x', atMs: 0 }] }]),
    'at 0.timeline.0.stage',
  ],
  ['a missing file', undefined, 'cannot be read: ENOENT'],
])('verify --compare refuses %s before anything is booted', async (_, text, message) => {
  const file = join(await tempDirectory(), 'before.json');
  if (text !== undefined) await writeFile(file, text);
  const command = [process.execPath, packageFile('dist/cli/main.js'), 'verify', 'not-there.img', '--compare', file];
  const { exitCode, stderr } = await localExecutor.run(command);
  expect(exitCode).toBe(2);
  expect(stderr.toString('utf8')).toContain(`--compare: ${file} `);
  expect(stderr.toString('utf8')).toContain(message);
});

test('verify --compare takes what verify wrote, with a guest of which nothing is known and with keys of another version', async () => {
  const file = join(await tempDirectory(), 'before.json');
  await writeFile(file, JSON.stringify([{ ...GOOD_BOOT, isNew: true }, BOOT]));
  const command = [process.execPath, packageFile('dist/cli/main.js'), 'verify', 'not-there.img', '--compare', file];
  const { stderr } = await localExecutor.run(command);
  expect(stderr.toString('utf8')).toContain('not-there.img');
  expect(stderr.toString('utf8')).not.toContain('--compare');
});

test('--quiet: only the result and failures', async () => {
  const { store, systems } = await prepareDemo();
  const out = await tempDirectory();
  const build = async (...more: string[]) => {
    const given = ['--toplevel', systems['tiny-none'] ?? '', '--store', store, '--partition-table-type', 'none'];
    const argv = [process.execPath, packageFile('dist/cli/main.js'), 'build', ...given, '--out', out, ...more];
    const { exitCode, stdout, stderr } = await localExecutor.run(argv);
    return { exitCode, stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8') };
  };
  expect(await build('--quiet')).toEqual({ exitCode: 0, stdout: `${out}/nixos.img\n`, stderr: '' });
  expect((await build()).stderr).toMatch(/^done {2}makeFilesystem/m);
  const { exitCode, stderr } = await build('--quiet', '--additional-space', '0', '--disk-size', '16M');
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^FAILED {2}makeFilesystem/);
  expect((await build('--quiet', '--verbose')).stderr).toMatch(/cannot be used with/);
});

test('no report replaces a file that is read, or another report', async () => {
  const directory = await tempDirectory();
  const at = (name: string): string => join(directory, name);
  const text = Buffer.alloc(2 * MIB, 'a disk ');
  await writeFile(at('disk.img'), text);
  await symlink('disk.img', at('link.img'));
  await link(at('disk.img'), at('same.img'));
  await mkdir(at('directory'));
  await writeFile(at('secret'), 'secret');
  const refused = async (args: readonly string[], message: string): Promise<void> => {
    const command = [process.execPath, packageFile('dist/cli/main.js'), ...args];
    const { exitCode, stdout, stderr } = await localExecutor.run(command, { cwd: directory });
    expect(stderr.toString('utf8')).toContain(message);
    expect([exitCode, stdout.toString('utf8')]).toEqual([2, '']);
  };
  for (const name of ['disk.img', './disk.img', 'link.img', 'same.img', at('disk.img')])
    for (const [command, options] of [
      ['inspect', ['--sarif']],
      ['verify', ['--html', '--junit', '--log', '--summary', '--sarif', '--annotations']],
    ] as const)
      for (const option of options)
        await refused([command, 'disk.img', option, name], `${command}: ${option}: ${name} is the image as well\n`);
  await refused(
    ['inspect', 'disk.img', '--passphrase-file', 'secret', '--sarif', 'secret'],
    '--sarif: secret is the file of --passphrase-file as well',
  );
  await refused(
    ['verify', 'disk.img', '--html', 'new', '--junit', './new'],
    '--junit: ./new is the file for --html as well',
  );
  await refused(['inspect', 'disk.img', '--sarif', 'directory'], '--sarif: directory is a directory, not a file');
  await refused(['inspect', 'disk.img', '--sarif', 'none/x'], 'none cannot be written to: it does not exist');
  expect((await readFile(at('disk.img'))).equals(text)).toBe(true);
  expect((await readdir(directory)).sort()).toEqual(['directory', 'disk.img', 'link.img', 'same.img', 'secret']);
});

test('a report that could not be written leaves nothing', async () => {
  const directory = await tempDirectory();
  await expect(writeOutput('inspect', '--sarif', '/dev/full', 'report')).rejects.toMatchObject({ code: 'E_NO_SPACE' });
  await writeOutput('inspect', '--sarif', join(directory, 'report'), 'report');
  expect(await readFile(join(directory, 'report'), 'utf8')).toBe('report');
  await expect(writeOutput('inspect', '--sarif', join(directory, 'a/b'), 'report')).rejects.toThrow(
    /^inspect: --sarif: /,
  );
  expect(await readdir(directory)).toEqual(['report']);
});
