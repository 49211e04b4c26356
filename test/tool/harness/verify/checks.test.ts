import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { Machine } from '../../../../harness/machine/machine.ts';
import { checkOwnership } from '../../../../harness/verify/checks.ts';
import { HOSTILE_NAMES } from '../../../helpers/hostile-names.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

/** A guest whose shell is this host's. */
const guest = {
  succeed: async (command: string): Promise<string> => {
    const { stdout } = await promisify(execFile)('sh', ['-c', command]);
    return stdout.trimEnd();
  },
} as unknown as Machine;

test.each(HOSTILE_NAMES)('checkOwnership of a file named %j', async (name) => {
  const path = join(await tempDirectory(), name);
  await writeFile(path, '', { mode: 0o600 });
  const owner = `${process.getuid?.()}:${process.getgid?.()}`;
  await expect(checkOwnership([{ path, owner, mode: '600' }]).run(guest)).resolves.toBe('1 files');
  await expect(checkOwnership([{ path, owner: '4711:4711' }]).run(guest)).rejects.toThrow(/not 4711:4711/);
});
