import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { equalCheck } from '../harness/verify/checks.ts';
import { removeTree } from '../lib/host-files/private-output.ts';
import { localExecutor } from '../lib/run/local-executor.ts';
import { MIB } from '../lib/units.ts';
import { bootScenario, buildScenario, type Scenario } from './scenario.ts';

const owner = (file: string, expected: string) =>
  equalCheck(`owner and mode of ${file}`, `stat -c '%U:%G %a' '${file}'`, expected);

test('contents: modes, owners by name, globs, and a directory merged into its target', async () => {
  const source = await mkdtemp(join(tmpdir(), 'ndi-contents-'));
  onTestFinished(() => removeTree(source));
  await mkdir(join(source, 'site/deep'), { recursive: true });
  await writeFile(join(source, 'site/deep/page'), 'page');
  await writeFile(join(source, 'secret'), 'secret');
  for (const name of ['one.key', 'two.key', 'three.txt']) await writeFile(join(source, name), name);
  const description = {
    system: 'tiny-grub-bios-boot',
    image: {
      partitionTableType: 'legacy+boot',
      contents: [
        { source: join(source, 'site'), target: '/srv/site', user: 'alice', group: 'users' },
        { source: join(source, 'secret'), target: '/srv/secret file', mode: '640', user: 'root', group: 'wheel' },
        { source: join(source, '*.key'), target: '/srv/keys', mode: '600', user: 'nobody', group: 'nogroup' },
        { source: join(source, 'three.txt'), target: '/srv/three', mode: '4711', user: 'alice', group: 'users' },
        { source: join(source, 'site'), target: '/boot/site' },
      ],
    },
    boots: ['bios'],
    inside: [
      owner('/srv/site', 'alice:users 755'),
      owner('/srv/site/deep/page', 'alice:users 644'),
      owner('/srv/secret file', 'root:wheel 640'),
      owner('/srv/keys/one.key', 'nobody:nogroup 600'),
      owner('/srv/three', 'alice:users 4711'),
      equalCheck('the files that the glob matched', 'ls /srv/keys', 'one.key\ntwo.key'),
      equalCheck('contents', 'cat /srv/site/deep/page', 'page'),
    ],
  } satisfies Scenario;
  const image = await buildScenario(description);
  // Contents below the mount point of the boot partition are on that partition, which the VM had mounted.
  const onBoot = ['mtype', '-i', `${image.built.image}@@${MIB}`, '::/site/deep/page'];
  expect((await localExecutor.run(onBoot)).stdout.toString('utf8')).toBe('page');
  await bootScenario(image, description, 'bios');
});
