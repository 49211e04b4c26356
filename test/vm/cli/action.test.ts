import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { packageFile } from '../../../harness/cache-directory.ts';
import type { BuiltImage } from '../../../lib/build/build-image.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { codeBlock } from '../../helpers/code-blocks.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// Runs the scripts of action.yml as GitHub's runner would, without the service and without third-party actions.

interface Action {
  readonly inputs: Readonly<Record<string, { readonly default?: string; readonly description: string }>>;
  readonly runs: {
    readonly steps: readonly { readonly name?: string; readonly run?: string; readonly env?: Record<string, string> }[];
  };
}

let image: BuiltImage;
let action: Action;
beforeAll(async () => {
  image = await demoImage('tiny-grub-hybrid', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  action = parse(await readFile(packageFile('action.yml'), 'utf8')) as Action;
});

/** Runs all steps except the setup. @returns the summary, the uploaded files and the status. */
async function runAction(inputs: Readonly<Record<string, string>>) {
  const directory = await tempDirectory();
  const [summary, output] = [join(directory, 'summary.md'), join(directory, 'output')];
  for (const file of [summary, output]) await writeFile(file, '');
  await mkdir(join(directory, 'temp'));
  const outputs: Record<string, string> = {};
  const value = (expression: string): string =>
    expression.replace(/\$\{\{ (inputs|steps\.image\.outputs)\.(\w+) \}\}/g, (_, where: string, name: string) =>
      where === 'inputs' ? (inputs[name] ?? action.inputs[name]?.default ?? '') : (outputs[name] ?? ''),
    );
  let exitCode: number | undefined = 0;
  let printed = '';
  for (const { name, run, env = {} } of action.runs.steps) {
    if (run === undefined || name === 'Install what is needed' || exitCode !== 0) continue;
    const result = await localExecutor.run(['bash', '--noprofile', '--norc', '-eo', 'pipefail', '-c', run], {
      cwd: directory,
      env: {
        ...Object.fromEntries(Object.entries(env).map(([key, text]) => [key, value(text)])),
        ...{ GITHUB_ACTION_PATH: packageFile('.'), GITHUB_STEP_SUMMARY: summary, GITHUB_OUTPUT: output },
        RUNNER_TEMP: join(directory, 'temp'),
      },
    });
    exitCode = result.exitCode;
    printed += `${result.stdout}${result.stderr}`;
    for (const [, key = '', text = ''] of (await readFile(output, 'utf8')).matchAll(/^(\w+)=(.*)$/gm))
      outputs[key] = text;
  }
  const report = join(directory, action.inputs.report?.default ?? '');
  return { exitCode, printed, summary: await readFile(summary, 'utf8'), kept: (await readdir(report)).sort(), outputs };
}

test('an image is verified and its report is uploaded', async () => {
  const { exitCode, printed, summary, kept, outputs } = await runAction({
    ...{ image: image.image, firmware: 'bios\n' },
    arguments: '--check\ntest -d /nix/store\n\n--memory\n512\n',
  });
  expect(exitCode, printed).toBe(0);
  expect(kept).toEqual(['boot.sarif', 'console.log', 'junit.xml', 'report.html']);
  expect(summary).toMatch(/### ✅ nixos\.img[\s\S]*\| legacy BIOS +\| good/);
  expect(outputs).toEqual({ image: image.image });
});

test('a bad image fails the job, with the cause in the summary', async () => {
  const { exitCode, summary, printed } = await runAction({
    ...{ image: image.image, firmware: 'bios', arguments: '--check\nfalse' },
  });
  expect(exitCode).toBe(1);
  // The runner obeys only commands after the token.
  const [, token] = /^::stop-commands::(\S+)$/m.exec(printed) ?? [];
  expect(printed.split(`\n::${token}::\n`)[1]).toMatch(
    /^::error file=[^:]*nixos\.img,title=legacy BIOS%3A check-failed::false: [^\n]*\n/,
  );
  expect(summary).toMatch(/❌[\s\S]*`check-failed`/);
});

test('without an image the action fails, and the log says why', async () => {
  const { exitCode, printed } = await runAction({});
  expect(exitCode).toBe(2);
  expect(printed).toContain('::error::give an image, or a specification');
});

test('an image together with a specification is refused, because only one would be used', async () => {
  const { exitCode, printed } = await runAction({ image: image.image, specification: 'image.json' });
  expect(exitCode).toBe(2);
  expect(printed).toContain('::error::image and specification contradict each other');
});

test('the workflow in the README uses the action’s inputs', () => {
  const { jobs } = parse(codeBlock('# boot.yml').text) as {
    jobs: { boot: { steps: { uses: string; with: object }[] } };
  };
  const own = jobs.boot.steps.find(({ uses }) => uses === './nixos-disk-image');
  expect(Object.keys(action.inputs)).toEqual(expect.arrayContaining(Object.keys(own?.with ?? {})));
  expect(Object.keys(own?.with ?? {})).toContain('image');
});

test('the job for GitLab: its script, verbatim, and the files that it keeps', async () => {
  const { boot } = parse(codeBlock('# .gitlab-ci.yml').text) as {
    boot: {
      before_script: readonly string[];
      script: readonly string[];
      artifacts: { paths: readonly string[]; reports: { junit: string } };
    };
  };
  const directory = await tempDirectory();
  await mkdir(join(directory, 'images'));
  await symlink(packageFile('.'), join(directory, 'nixos-disk-image'));
  await symlink(image.image, join(directory, 'images/nixos.img'));
  // The setup is that of every test run.
  expect(boot.before_script).toEqual(['node nixos-disk-image/vm-images/setup.mjs']);
  const script = boot.script.join('\n');
  const result = await localExecutor.run(['bash', '-eo', 'pipefail', '-c', script], { cwd: directory });
  expect(result.exitCode, `${result.stdout}${result.stderr}`).toBe(0);
  const kept = await readdir(join(directory, boot.artifacts.paths[0] ?? ''));
  expect(kept.sort()).toEqual([...['boot.sarif', 'console-bios.log', 'console-efi.log', 'junit.xml', 'report.html']]);
  expect(await readFile(join(directory, boot.artifacts.reports.junit), 'utf8')).toContain('<testsuite');
});
