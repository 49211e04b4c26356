import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { installExample } from '../../helpers/packed-package.ts';
import { run } from '../../helpers/run.ts';

interface Job {
  readonly strategy?: { readonly matrix: { readonly shard: readonly number[] } };
  readonly steps: readonly { readonly run?: string }[];
}

test('the shards of the workflow build the image and boot it, and its last job makes one report', async () => {
  const { store, systems } = await prepareDemo();
  const example = await installExample('sharded-ci');
  const workflow = parse(await readFile(join(example, '.github/workflows/boot.yml'), 'utf8'));
  const { boot, report } = workflow.jobs as { boot: Job; report: Job };
  const commands = ({ steps }: Job): string[] =>
    steps.flatMap((step) => (step.run?.startsWith('npx ') ? [step.run] : []));
  const type = (command: string): Promise<string> =>
    run(['sh', '-c', command], { cwd: example, env: { TOPLEVEL: systems['tiny-grub-hybrid'] ?? '', STORE: store } });

  const shards = boot.strategy?.matrix.shard ?? [];
  for (const shard of shards)
    for (const command of commands(boot)) await type(command.replace(/\$\{\{ matrix\.shard \}\}/g, `${shard}`));
  expect(await readdir(join(example, '.vitest-reports'))).toHaveLength(2);
  for (const command of commands(report)) expect(await type(command)).toMatch(/2 passed/);
  expect(await readFile(join(example, 'boots.xml'), 'utf8')).toContain('tests="2" failures="0"');
  expect((await readFile(join(example, 'boots.html'), 'utf8')).match(/<section id="boot-/g)).toHaveLength(2);
});
