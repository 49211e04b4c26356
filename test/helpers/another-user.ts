import { chmod, chown, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import type { RunResult } from '../../lib/run/executor.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';

/** $1 is the work directory, $2 the checkout, $3 commands for preparation; the rest is a command. */
const SCRIPT = `
work=$1 checkout=$2 prepare=$3
shift 3
mount --bind "$checkout" "$work/checkout"
cd "$work/tmp"
eval "$prepare"
exec "$@"
`;

export interface AnotherUserOptions {
  /** The environment, in addition to PATH and TMPDIR, which is an empty directory of the user. */
  readonly env?: Readonly<Record<string, string>>;
  /** Commands that root runs in that TMPDIR, in a mount namespace that ends with the program. */
  readonly prepare?: string;
}

/** Runs the command line as a user without an entry in passwd(5). */
export async function cliAs(
  uid: number,
  args: readonly string[],
  { env = {}, prepare = '' }: AnotherUserOptions = {},
): Promise<RunResult & { readonly temporary: string }> {
  const work = await mkdtemp(join(tmpdir(), 'ndi-user-'));
  onTestFinished(() => removeTree(work));
  await chmod(work, 0o755);
  const temporary = join(work, 'tmp');
  for (const name of ['checkout', 'tmp']) await mkdir(join(work, name));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(temporary, uid, uid);
  const namespace = ['unshare', ...(isRoot ? [] : ['--map-root-user']), '--mount', '--propagation', 'private', '--'];
  const become = isRoot
    ? ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
    : ['unshare', '--user', `--map-user=${uid}`, `--map-group=${uid}`];
  const settings = { PATH: process.env.PATH ?? '', TMPDIR: temporary, ...env };
  const result = await localExecutor.run([
    ...[...namespace, 'sh', '-euc', SCRIPT, 'sh', work, packageFile('.'), prepare],
    ...[...become, '--', 'env', '-i', ...Object.entries(settings).map(([name, value]) => `${name}=${value}`)],
    ...[process.execPath, join(work, 'checkout/dist/cli/main.js'), ...args],
  ]);
  return { ...result, temporary };
}
