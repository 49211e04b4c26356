import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeProgram } from '../../../cli/program.ts';
import { quoteForDisplay } from '../../../lib/run/errors.ts';
import { parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

/** What a command line that is refused prints. */
async function refusal(...argv: string[]): Promise<string> {
  const program = makeProgram('1.2.3', new AbortController().signal);
  let printed = '';
  for (const command of [program, ...program.commands])
    command.exitOverride().configureOutput({
      writeErr: (text) => {
        printed += text;
      },
    });
  await expect(program.parseAsync(argv, { from: 'user' })).rejects.toThrow();
  return printed;
}

test.each([
  [['verfy', 'nixos.img'], "unknown command 'verfy'\n(Did you mean nixos-disk-image verify?)"],
  [['Inspect'], "unknown command 'Inspect'\n(Did you mean nixos-disk-image inspect?)"],
  [['image.json'], '(Did you mean nixos-disk-image build image.json?)'],
  [['conf/image.yml', '--json'], '(Did you mean nixos-disk-image build conf/image.yml?)'],
  [['nixos.img'], '(Did you mean nixos-disk-image inspect nixos.img, or nixos-disk-image verify nixos.img?)'],
  [["it's.qcow2"], `(Did you mean nixos-disk-image inspect 'it'\\''s.qcow2'`],
  [['/'], '(Did you mean nixos-disk-image build --toplevel /?)'],
  [['build', '--partition-table-type', 'hybird'], 'Did you mean hybrid?'],
  [['build', '--fromat', 'raw'], 'Did you mean --format?'],
  [['verify', 'x.img', '--firmware', 'uefi'], 'Did you mean efi?'],
  [['run', 'x.img', '--disk-interface', 'virtoi'], 'Did you mean virtio?'],
  [['schema', '--of', 'veryfi'], 'Did you mean verify?'],
])('%j', async (argv, said) => {
  expect(await refusal(...argv)).toContain(said);
});

test('a file of any name', async () => {
  const file = join(await tempDirectory(), 'image');
  await writeFile(file, '');
  expect(await refusal(file)).toContain(`nixos-disk-image inspect ${quoteForDisplay(file)}`);
});

test('nothing is suggested where nothing is near', async () => {
  expect(await refusal('nonsense')).not.toContain('Did you mean');
  expect(await refusal('x\0y')).not.toContain('Did you mean');
  expect(await refusal('build', '--format', 'tar.gz')).not.toContain('Did you mean');
});

test('a wrong word in a specification', () => {
  const specification = { toplevel: '/x', partitionTableType: 'hybird' };
  expect(() => parseImageSpec(specification)).toThrow(/partitionTableType: .*; did you mean "hybrid"\?/);
});
