import type { RunResult } from '../../lib/run/executor.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';

/** $1 is the directory, $2 its size; the rest is a command. */
const SCRIPT =
  'out=$1 size=$2; shift 2; mount -t tmpfs -o size=$size tmpfs "$out"; "$@"; status=$?; ls -A "$out"; exit $status';

/** Runs a command with a tmpfs of `size` mounted on `directory`, in new namespaces, so that an ordinary user may mount it too.
 *  Standard output ends with the names of the files that the command left there. */
export function inSmallTmpfs(directory: string, size: string, argv: readonly string[]): Promise<RunResult> {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const unshare = ['unshare', ...asRoot, '--mount', '--propagation', 'private', '--'];
  return localExecutor.run([...unshare, 'sh', '-c', SCRIPT, 'sh', directory, size, ...argv]);
}
