import { chmod, cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

const QUICK = { NIXOS_DISK_IMAGE_ACCEL: 'tcg' };

test('a node-pty that was not compiled is reported, with what to do', async () => {
  const directory = await tempDirectory();
  await cp(packageFile('dist'), join(directory, 'dist'), {
    recursive: true,
    filter: (source) => !/dist\/(shards|vitest)-/.test(source),
  });
  await cp(packageFile('package.json'), join(directory, 'package.json'));
  const modules = packageFile('node_modules');
  await mkdir(join(directory, 'node_modules'));
  for (const name of await readdir(modules))
    if (name !== 'node-pty') await symlink(join(modules, name), join(directory, 'node_modules', name));
  // The result of `npm install --ignore-scripts`.
  await cp(join(modules, 'node-pty'), join(directory, 'node_modules/node-pty'), {
    recursive: true,
    filter: (source) => !/node-pty\/(build|prebuilds)/.test(source),
  });
  const cli = (...args: string[]) =>
    localExecutor.run([process.execPath, join(directory, 'dist/cli/main.js'), ...args], { env: QUICK });
  const doctor = await cli('doctor');
  expect(doctor.exitCode).toBe(3);
  expect(doctor.stderr.toString('utf8')).toBe('');
  expect(doctor.stdout.toString('utf8')).toMatch(
    /^MISSING node-pty +node-pty cannot be loaded: .*\n +compile it for Node v[\d.]+: npm rebuild node-pty/m,
  );
  expect(JSON.parse((await cli('doctor', '--json')).stdout.toString('utf8'))).toMatchObject({
    good: false,
    nodePty: { works: false, fault: expect.stringContaining('cannot be loaded'), hint: expect.any(String) },
  });
});

test('a program that exists but cannot run is not reported as good', async () => {
  const directory = await tempDirectory();
  const broken = join(directory, 'parted');
  await writeFile(broken, '#!/bin/sh\necho "parted: error while loading shared libraries" >&2\nexit 127\n');
  await chmod(broken, 0o755);
  const { exitCode, stdout } = await localExecutor.run([process.execPath, packageFile('dist/cli/main.js'), 'doctor'], {
    env: { ...QUICK, PATH: `${directory}:${process.env.PATH}` },
  });
  expect(exitCode).toBe(3);
  expect(stdout.toString('utf8')).toContain(
    `BROKEN  parted              ${broken}: cannot be run: parted: error while loading shared libraries`,
  );
});
