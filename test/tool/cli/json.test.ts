import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { demoImage, SYSTEM_OF_LAYOUT } from '../../helpers/demo-image.ts';
import { expectJsonOf, fieldsOf, schemaOf } from '../../helpers/json-schema.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

async function json(...args: string[]): Promise<string> {
  const { stdout } = await localExecutor.run([process.execPath, packageFile('dist/cli/main.js'), ...args, '--json']);
  return stdout.toString('utf8');
}

let image: string;
beforeAll(async () => {
  const built = await demoImage(SYSTEM_OF_LAYOUT.hybrid, { partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec' });
  image = built.image;
});

test('inspect --json: a good image, and one that is wrong in many ways', async () => {
  expect(await expectJsonOf('inspect', await json('inspect', image))).toMatchObject({
    ...{ firmware: ['bios', 'efi'], findings: [], generations: [{ number: 1 }] },
  });
  const broken = join(await tempDirectory(), 'broken.img');
  await copyFile(image, broken);
  await localExecutor.run(['dd', 'if=/dev/zero', `of=${broken}`, 'bs=1M', 'count=200', 'conv=notrunc']);
  expect(await expectJsonOf('inspect', await json('inspect', broken))).toMatchObject({
    findings: expect.arrayContaining([expect.objectContaining({ severity: 'fatal' })]),
  });
});

test('diff --json: the same, and different', async () => {
  expect(await expectJsonOf('diff', await json('diff', image, image))).toEqual([]);
  const other = await demoImage(SYSTEM_OF_LAYOUT.efi, { partitionTableType: 'efi', bootLoaderFrom: 'bootspec' });
  const differences = await expectJsonOf('diff', await json('diff', image, other.image));
  expect(differences).toContainEqual(expect.objectContaining({ where: expect.stringContaining('partition') }));
});

test.each([
  'inspect',
  'diff',
  'verify',
])('%s --json: fields are added, and none is removed or becomes another', async (command) => {
  const schema = await schemaOf(command);
  // Add what is new to this file; a line that is taken from it breaks a user's script.
  const published = await readFile(packageFile(`test/fixtures/json-fields/${command}.txt`), 'utf8');
  expect(fieldsOf(schema)).toEqual(published.trimEnd().split('\n'));
  expect(JSON.stringify(schema)).not.toContain('additionalProperties');
});
