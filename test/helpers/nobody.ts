import { chmod, chown, mkdir, mkdtemp, readdir, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import type { BuiltImage } from '../../lib/build/build-image.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';

const NOBODY = '65534';

/** Sets up a mount namespace with a /dev without kvm, where only the output is writable. $1 is the work directory, $2 the checkout,
 *  $3 the store, $4 the umask, $5 whether the store is copied in another order; the rest is a command. */
const AS_NOBODY = `
work=$1 checkout=$2 store=$3 mask=$4 shuffle=$5
shift 5
mount --bind "$checkout" "$work/checkout"
if [ "$shuffle" = yes ]; then
  # A tmpfs lists its files in the order of their creation.
  mount -t tmpfs store "$work/store"
  cd "$store"
  # A program that reads the database at the same time creates and removes files beside it.
  xargs -I{} find nix/var/nix/db {} -not -name 'db.sqlite-*' < "$work/store-paths" | sort -u | shuf | cpio --quiet -pdm "$work/store"
else
  mount --bind "$store" "$work/store"
fi
mount -t tmpfs dev "$work/dev"
for device in null zero full random urandom tty; do
  : > "$work/dev/$device"
  mount --bind "/dev/$device" "$work/dev/$device"
done
mkdir "$work/dev/shm"
chmod 1777 "$work/dev/shm"
mount --rbind "$work/dev" /dev
cd /
umask "$mask"
exec "$@"
`;

export interface NobodyOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Whether qemu-img is on PATH, for formats other than raw. */
  readonly withQemuImg?: boolean;
  readonly umask?: string;
  /** The store paths to copy to another filesystem in another order; default: the store is used unchanged. */
  readonly shuffle?: readonly string[];
  /** Programs to put before the command, such as faketime and taskset. */
  readonly wrapper?: readonly string[];
}

/** Builds with the command line as the user nobody, without /dev/kvm and without QEMU on PATH. */
export async function buildAsNobody(
  specification: { readonly store: string; readonly [option: string]: unknown },
  { env = {}, withQemuImg = false, umask = '022', shuffle, wrapper = [] }: NobodyOptions = {},
): Promise<BuiltImage> {
  const work = await mkdtemp(join(tmpdir(), 'ndi-nobody-'));
  onTestFinished(() => removeTree(work));
  await chmod(work, 0o755);
  for (const name of ['checkout', 'store', 'dev', 'bin', 'out']) await mkdir(join(work, name));
  const tools = new Map<string, string>();
  for (const directory of ['/usr/sbin', '/usr/bin', '/sbin', '/bin'])
    for (const name of await readdir(directory).catch(() => []))
      if (!name.startsWith('qemu') || (withQemuImg && name === 'qemu-img')) tools.set(name, join(directory, name));
  tools.set('node', process.execPath);
  for (const [name, file] of tools) await symlink(file, join(work, 'bin', name));
  await writeFile(join(work, 'image.json'), JSON.stringify({ ...specification, store: join(work, 'store') }));
  await writeFile(join(work, 'store-paths'), (shuffle ?? []).map((storePath) => `${storePath.slice(1)}\n`).join(''));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(join(work, 'out'), Number(NOBODY), Number(NOBODY));
  const namespace = ['unshare', ...(isRoot ? [] : ['--map-root-user']), '--mount', '--propagation', 'private', '--'];
  const become = isRoot
    ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']
    : ['unshare', '--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`];
  const settings = { PATH: join(work, 'bin'), HOME: '/nonexistent', ...env };
  const result = await localExecutor.run([
    ...[...namespace, 'sh', '-euc', AS_NOBODY, 'nobody'],
    ...[work, packageFile('.'), specification.store, umask, shuffle === undefined ? 'no' : 'yes'],
    ...[
      ...become,
      '--',
      'env',
      '-i',
      ...Object.entries(settings).map(([name, value]) => `${name}=${value}`),
      ...wrapper,
    ],
    ...['node', join(work, 'checkout/dist/cli/main.js'), 'build', join(work, 'image.json')],
    ...['--out', join(work, 'out'), '--json'],
  ]);
  expect(result.exitCode, result.stderr.toString('utf8')).toBe(0);
  return JSON.parse(result.stdout.toString('utf8')) as BuiltImage;
}
