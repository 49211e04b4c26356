import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, vi } from 'vitest';
import { EXIT, errorText, exitCodeOf } from '../../cli/exit-codes.ts';
import { findTool, TOOLS } from '../../lib/run/tools.ts';
import { tempDirectory } from './temp-directory.ts';

/** Shadows programs on PATH.
 *  @param script what each one does after it has written its name to the log.
 *  @returns the log. */
export async function replacePrograms(script: (name: string) => string, names: readonly string[]): Promise<string> {
  const directory = await tempDirectory();
  const [bin, log] = [join(directory, 'bin'), join(directory, 'log')];
  await mkdir(bin, { recursive: true });
  await writeFile(log, '');
  for (const name of names) {
    await writeFile(join(bin, name), `#!/bin/sh\necho ${name} >> "$(dirname "$0")/../log"\n${script(name)}\n`);
    await chmod(join(bin, name), 0o755);
  }
  vi.stubEnv('PATH', `${bin}${delimiter}${process.env.PATH}`);
  return log;
}

/** The programs in the table of tools. */
export async function programsRunBy(work: () => Promise<unknown>): Promise<string[]> {
  const here = new Map<string, string>();
  for (const { name } of TOOLS) here.set(name, (await findTool(name)) ?? '/nonexistent');
  const log = await replacePrograms((name) => `exec ${here.get(name)} "$@"`, [...here.keys()]);
  await work().finally(() => vi.unstubAllEnvs());
  return [...new Set((await readFile(log, 'utf8')).trim().split('\n'))].sort();
}

/** Checks that work fails as a host failure, with the program's name, if one of its programs is killed at its first call or ends
 *  with an undocumented status. */
export async function expectHostFailure(name: string, work: () => Promise<unknown>): Promise<void> {
  for (const end of ['kill -9 $$', 'exit 77']) {
    await replacePrograms(() => end, [name]);
    const error = await work()
      .catch((thrown: unknown) => thrown)
      .finally(() => vi.unstubAllEnvs());
    expect(error, `${name}: ${end}`).toBeInstanceOf(Error);
    expect(exitCodeOf(error), `${name}: ${end}: ${errorText(error)}`).toBe(EXIT.harness);
    expect(errorText(error)).toContain(name.startsWith('qemu-system') ? 'QEMU' : name);
    expect(errorText(error), name).not.toMatch(/\n\s+at /);
  }
}
