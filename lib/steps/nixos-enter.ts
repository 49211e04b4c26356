import { z } from 'zod';
import { defineStep, type Step, type WithOldNames } from '../run/define-step.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import type { RunResult } from '../run/executor.ts';
import type { StepRunner } from '../run/step.ts';
import { absolutePath, path } from '../spec/fields.ts';

const STEP = 'nixosEnter';

const SYSTEM_PROFILE = '/nix/var/nix/profiles/system';

const schema = z.object({
  /** The mounted root, as the executor sees it; default "/mnt". */
  mountPoint: absolutePath.default('/mnt'),
  /** The program and its arguments; paths are inside the root. */
  command: z.array(z.string()).min(1, 'must name a program').readonly(),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string()).default({}),
  /** Run the system's activation first; default true. Users and groups exist only afterwards. */
  activate: z.boolean().default(true),
  /** A real `nixos-enter` to use instead, as the executor sees it. */
  nixosEnterTool: path.optional(),
});

const OLD_NAMES = { root: 'mountPoint' } as const;

export type NixosEnterOptions = WithOldNames<z.input<typeof schema>, typeof OLD_NAMES>;

/** The script that runs in the new namespaces. It is constant; values of the caller are positional parameters:
 *  $1 root, $2 system, $3 "yes" to activate, then the command. */
const ENTER = `
root=$1 system=$2 activate=$3
shift 3
mkdir -p -m 0755 "$root/dev" "$root/sys" "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
if [ -e /etc/resolv.conf ] && [ ! -L "$root/etc/resolv.conf" ]; then
  [ -e "$root/etc/resolv.conf" ] || : > "$root/etc/resolv.conf"
  mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
fi
# Files that activation and installers leave here must not become part of the image, but staged files must stay visible.
for volatile in run:0755 tmp:1777; do
  place=$root/\${volatile%:*}
  if [ ! -L "$place" ]; then
    mkdir -p "$place"
    [ -n "$(ls -A "$place")" ] || mount -t tmpfs -o "mode=\${volatile#*:}" tmpfs "$place"
  fi
done
unset TMPDIR
export PATH="$system/sw/bin:$system/sw/sbin:$PATH"
if [ "$activate" = yes ]; then
  IN_NIXOS_ENTER=1 chroot "$root" "$system/activate" >&2 || true
  chroot "$root" "$system/sw/bin/systemd-tmpfiles" --create --remove -E >/dev/null 2>&1 || true
fi
exec chroot "$root" "$@"
`;

/** Arguments that do the same as nixos-enter, with only util-linux and chroot. */
export function nixosEnterArgs(root: string, command: readonly string[], activate: boolean): string[] {
  const namespaces = ['unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--propagation', 'private'];
  return [
    ...namespaces,
    '--',
    'sh',
    '-eu',
    '-c',
    ENTER,
    'nixos-enter',
    root,
    SYSTEM_PROFILE,
    activate ? 'yes' : 'no',
    ...command,
  ];
}

/** Runs a command inside the installed system, like nixos-enter: in private mount, UTS and PID namespaces, with /dev,
 *  /sys and a new /proc, after `activate` and systemd-tmpfiles, whose failures are ignored. If /run and /tmp are empty,
 *  they are a tmpfs for the duration of the command. HOME is /tmp.
 *  @throws {UnexpectedStateError} when the root has no /etc/NIXOS, so that it is not a NixOS installation.
 *  @throws {ToolFailedError} when the command fails, with its output.
 *  @see nixos-enter(8). Runs: chroot, mkdir, mount, sh, test, unshare. */
export const nixosEnter: Step<NixosEnterOptions, RunResult> = defineStep({
  name: STEP,
  options: schema,
  oldNames: OLD_NAMES,
  runs: ['chroot', 'mkdir', 'mount', 'sh', 'test', 'unshare'],
  where: 'anywhere',
  detail: ({ command }) => command.join(' '),
  async run(step, parsed) {
    return enterRoot(step, parsed);
  },
});

type Parsed = z.output<typeof schema>;

/** The body of nixosEnter, for steps that are built on it: their errors carry their own names. */
export async function enterRoot(step: StepRunner, options: Parsed, what?: string): Promise<RunResult> {
  const { mountPoint: root, command, env, activate, nixosEnterTool } = options;
  const marker = await step.tryRun(['test', '-e', `${root}/etc/NIXOS`], { answers: [1] });
  if (marker.exitCode !== 0)
    throw new UnexpectedStateError(step.step, `${root} is not a NixOS installation`, {
      expected: `${root}/etc/NIXOS`,
      found: 'no such file',
      hint: 'run installSystem first',
    });
  const argv =
    nixosEnterTool === undefined
      ? nixosEnterArgs(root, command, activate)
      : [nixosEnterTool, '--root', root, '--', ...command];
  // nix-env, which installers of boot loaders run, writes files to HOME.
  const home = nixosEnterTool === undefined ? { HOME: '/tmp' } : {};
  return step.run(argv, { env: { ...home, ...env }, what });
}
