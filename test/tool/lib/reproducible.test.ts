import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type BuiltImage, buildImage } from '../../../lib/build/build-image.ts';
import { diffImages } from '../../../lib/diff/diff-images.ts';
import { PARTITION_TABLE_TYPES, type PartitionTableType } from '../../../lib/formats/layouts.ts';
import { convertImage } from '../../../lib/steps/convert-image.ts';
import { type DemoSystems, prepareDemo } from '../../../vm-images/demo.ts';
import { SYSTEM_OF_LAYOUT } from '../../helpers/demo-image.ts';
import { buildAsNobody } from '../../helpers/nobody.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

const FORMATS = ['raw', 'qcow2', 'qcow2-compressed', 'vdi', 'vpc', 'vmdk'] as const;

// The same closure gives the same bytes for another user, in another directory, at another time.

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function expectSame(a: string, b: string): Promise<void> {
  // The checksums decide; if they differ, diff shows where.
  if ((await sha256(a)) !== (await sha256(b))) expect(await diffImages({ a, b })).toEqual([]);
  expect(await sha256(a)).toBe(await sha256(b));
}

async function specification(partitionTableType: PartitionTableType) {
  const directory = await tempDirectory();
  await chmod(directory, 0o755);
  await mkdir(join(directory, 'site'));
  await writeFile(join(directory, 'site/page'), 'page');
  await writeFile(join(directory, 'configuration.nix'), '{ }\n');
  return {
    toplevel: demo.systems[SYSTEM_OF_LAYOUT[partitionTableType]] ?? '',
    store: demo.store,
    partitionTableType,
    ...{
      additionalSpace: '16M',
      bootSize: partitionTableType === 'efixbootldr' ? '132M' : '40M',
      bootLoaderFrom: 'bootspec' as const,
      reproducible: true,
    },
    contents: [{ source: join(directory, 'site'), target: '/srv/www/site', user: 'alice', group: 'users' }],
    configFile: join(directory, 'configuration.nix'),
  };
}

/** Builds at another time, in another time zone, language and umask, as nobody, on one CPU, from a store in another order. */
function elsewhere(built: BuiltImage) {
  return {
    wrapper: ['taskset', '1', 'faketime', '-f', '+4000d'],
    env: { TZ: 'Pacific/Kiritimati', LANG: 'tr_TR.UTF-8', LC_ALL: 'C' },
    umask: '077',
    shuffle: built.system.storePaths,
  };
}

test.each(PARTITION_TABLE_TYPES)('%s: two builds give the same bytes, in every format', async (type) => {
  const outDir = await tempDirectory();
  const options = await specification(type);
  const first = await buildImage({ ...options, outDir });
  // The contents were checked out again.
  await utimes(join(options.contents[0]?.source ?? '', 'page'), 1e9, 1e9);
  const second = await buildAsNobody(options, elsewhere(first));
  await expectSame(second.image, first.image);
  for (const format of FORMATS) {
    // A VMDK contains its file name.
    const [a, b] = [join(outDir, `image.${format}`), join(dirname(second.image), `image.${format}`)];
    await convertImage({ source: first.image, target: a, format, timestamp: 1 });
    await convertImage({ source: second.image, target: b, format, timestamp: 1 });
    await run(['cmp', a, b]);
    await rm(a);
    await rm(b);
  }
});

test.each(['vdi', 'vpc', 'qcow2-compressed'] as const)('a build in the format %s, too', async (format) => {
  const outDir = await tempDirectory();
  const options = { ...(await specification('efi')), format };
  const first = await buildImage({ ...options, outDir });
  const second = await buildAsNobody(options, { ...elsewhere(first), withQemuImg: true });
  await expectSame(second.image, first.image);
});

test('another closure gives different bytes, and every file has the time SOURCE_DATE_EPOCH', async () => {
  const options = await specification('efi');
  const one = await buildAsNobody(options);
  const other = await buildAsNobody(options, { env: { SOURCE_DATE_EPOCH: '1700000000' } });
  expect(await sha256(other.image)).not.toBe(await sha256(one.image));
});
