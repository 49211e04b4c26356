import { readFile, writeFile } from 'node:fs/promises';
import { isErrno } from '../../lib/run/errno.ts';
import { formatDuration } from '../../lib/units.ts';
import { AssertionFailedError } from '../errors.ts';
import { quote } from '../machine/guest-shell.ts';
import type { Machine } from '../machine/machine.ts';
import type { FirmwareName } from '../machine/machine-spec.ts';

/** An assertion about a booted machine. */
export interface BootCheck {
  /** A few words for the report. */
  readonly name: string;
  /** @throws {AssertionFailedError} if the assertion fails.
   *  @returns what was found, for the report. */
  readonly run: (machine: Machine) => Promise<string | undefined>;
}

/** Checks which firmware started the kernel: /sys/firmware/efi exists only under EFI. */
export function checkFirmwareMode(firmware: FirmwareName): BootCheck {
  const expected = firmware === 'efi' ? 'efi' : 'no efi';
  return equalCheck('firmware mode', '[ -d /sys/firmware/efi ] && echo efi || echo no efi', expected);
}

/** Checks that the kernel got this system's `init=` parameter and that /run/current-system is this system. */
export function checkCurrentSystem(toplevel: string): BootCheck {
  return {
    name: 'current system',
    async run(machine) {
      const commandLine = await machine.succeed('cat /proc/cmdline');
      if (!commandLine.split(/\s+/).includes(`init=${toplevel}/init`))
        throw mismatch('the kernel command line', `init=${toplevel}/init`, commandLine);
      const current = await machine.succeed('readlink -f /run/current-system');
      if (current !== toplevel) throw mismatch('/run/current-system', toplevel, current);
      return current;
    },
  };
}

/** Checks that the device with this UUID and this label is mounted on `/`. The UUID is in lower case. */
export function checkRootFilesystem(expected: {
  readonly uuid?: string | undefined;
  readonly label?: string | undefined;
}): BootCheck {
  return {
    name: 'root filesystem',
    async run(machine) {
      const number = (file: string): string => `echo $(( 0x$(stat -c %t ${file}) * 256 + 0x$(stat -c %T ${file}) ))`;
      // A btrfs has its own device number, and /dev/root is not a device.
      const source = String.raw`sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* / .* - [^ ]* \([^ ]*\) .*|\1|p' /proc/self/mountinfo`;
      const mounted = await machine.succeed(
        `s=$(${source} | tail -n 1); if [ -b "$s" ]; then ${number('$s')}; else stat -c %d /; fi`,
      );
      for (const [tag, value] of [
        ['UUID', expected.uuid],
        ['LABEL', expected.label],
      ]) {
        if (value === undefined) continue;
        // util-linux and busybox both have findfs; /proc/mounts may name the device /dev/root.
        const device = await machine.succeed(`d=$(readlink -f $(findfs ${tag}=${value})) && ${number('$d')}`);
        if (device !== mounted)
          throw mismatch(`the device number of the filesystem with ${tag} ${value}`, `${mounted}, which is /`, device);
      }
      return `${expected.label ?? ''} ${expected.uuid ?? ''}`.trim();
    },
  };
}

/** Checks that every path in the Nix store has the contents that the Nix database has a hash of. */
export const checkStoreContents: BootCheck = {
  name: 'store contents',
  async run(machine) {
    await machine.succeed('nix-store --verify --check-contents');
    return undefined;
  },
};

/** Checks that no systemd unit has failed. */
export const checkFailedUnits: BootCheck = {
  name: 'failed units',
  async run(machine) {
    const failed = await machine.succeed('systemctl --failed --no-legend --plain');
    if (failed.trim() !== '') throw mismatch('failed units', 'none', failed);
    return undefined;
  },
};

/** Checks that the root filesystem has no recorded errors and is mounted read-write. */
export const checkRootClean: BootCheck = {
  name: 'root filesystem clean',
  async run(machine) {
    const mounted = await machine.succeed(
      String.raw`sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* / \([^ ]*\) .*|\1|p' /proc/self/mountinfo | tail -n 1`,
    );
    if (!mounted.split(',').includes('rw')) throw mismatch('the mount options of /', 'rw', mounted);
    // The kernel counts errors of ext4; other filesystems with errors do not mount.
    const errors = await machine.succeed('cat /sys/fs/ext4/*/errors_count 2>/dev/null | sort -n | tail -n 1');
    if (errors !== '' && errors !== '0') throw mismatch('errors counted by ext4', '0', errors);
    return mounted;
  },
};

/** Checks that no partition follows the root partition, so that it can grow on a disk that is larger than the image. `diskBytes`
 *  makes the machine's disk larger. */
export const checkRootGrowable: BootCheck = {
  name: 'root growable',
  async run(machine) {
    // From sysfs: the partition of / and those that start after it, in sectors.
    const script = String.raw`
      d=$(sed -n 's|^[^ ]* [^ ]* \([0-9:]*\) [^ ]* / .*|\1|p' /proc/self/mountinfo | tail -n 1)
      p=$(readlink -f /sys/dev/block/$d); [ -e $p/partition ] || { echo whole disk; exit 0; }
      end=$(( $(cat $p/start) + $(cat $p/size) )); disk=$(cat $p/../size); behind=0
      for q in $p/../*/start; do [ $(cat $q) -lt $end ] || behind=1; done
      echo $end $disk $behind`;
    const found = await machine.succeed(script);
    const [end, disk, behind] = found.split(' ');
    if (behind === '1') throw mismatch('partitions after the root partition', 'none', `one after sector ${end}`);
    return disk === undefined ? found : `ends at sector ${end} of ${disk}`;
  },
};

/** Checks that the machine generated its own ID and did not get one from the image. @see machine-id(5) */
export function checkFreshMachineId(inImage?: string): BootCheck {
  return {
    name: 'machine id',
    async run(machine) {
      const id = await machine.succeed('cat /etc/machine-id');
      if (!/^[0-9a-f]{32}$/.test(id)) throw mismatch('/etc/machine-id', '32 hexadecimal digits', id);
      if (id === inImage) throw mismatch('/etc/machine-id', 'a different ID from the one in the image', id);
      return id;
    },
  };
}

/** Checks the owners and modes of files: owners as numbers or names, modes in octal. */
export function checkOwnership(
  expected: readonly { readonly path: string; readonly owner: string; readonly mode?: string | undefined }[],
): BootCheck {
  return {
    name: 'ownership',
    async run(machine) {
      const wrong: string[] = [];
      for (const { path, owner, mode } of expected) {
        const found = await machine.succeed(`stat -c '%u:%g %U:%G %a' -- ${quote(path)}`);
        const [byNumber, byName, bits] = found.split(' ');
        if (owner !== byNumber && owner !== byName) wrong.push(`${path} is ${byName} (${byNumber}), not ${owner}`);
        if (mode !== undefined && Number.parseInt(mode, 8) !== Number.parseInt(bits ?? '', 8))
          wrong.push(`${path} has mode ${bits}, not ${mode}`);
      }
      if (wrong.length > 0) throw new AssertionFailedError(wrong.join('; '));
      return `${expected.length} files`;
    },
  };
}

/** Checks that the login prompt came about as fast as in earlier boots. The baseline file has one time for each image name,
 *  firmware and accelerator; the first boot creates it. Compare only times from the same host.
 *  @param tolerance the allowed factor over the baseline; default 1.5. */
export function checkTimeToLogin(baselineFile: string, tolerance = 1.5): BootCheck {
  return {
    name: 'time to login',
    async run(machine) {
      const atMs = machine.stages.seen.find(({ stage }) => stage === 'login')?.atMs;
      if (atMs === undefined) throw new AssertionFailedError('no login prompt was seen');
      const known = await readFile(baselineFile, 'utf8').catch((error: unknown) => {
        if (isErrno(error, 'ENOENT')) return '{}';
        throw error;
      });
      const baselines = JSON.parse(known) as Record<string, number>;
      const key = `${machine.name}, ${machine.accelerator}`;
      const baseline = baselines[key];
      if (baseline === undefined) {
        await writeFile(baselineFile, `${JSON.stringify({ ...baselines, [key]: Math.round(atMs) }, undefined, 2)}\n`);
        return `${formatDuration(atMs)}, saved as the baseline`;
      }
      if (atMs > baseline * tolerance)
        throw mismatch('time to login', `at most ${tolerance} × ${formatDuration(baseline)}`, formatDuration(atMs));
      return `${formatDuration(atMs)}; baseline ${formatDuration(baseline)}`;
    },
  };
}

/** Checks that a shell command prints `expected`. */
export function equalCheck(name: string, command: string, expected: string): BootCheck {
  return {
    name,
    async run(machine) {
      const found = await machine.succeed(command);
      if (found !== expected) throw mismatch(`"${command}"`, expected, found);
      return found;
    },
  };
}

/** Checks that a shell command succeeds. */
export function commandCheck(command: string): BootCheck {
  return { name: command, run: (machine) => machine.succeed(command) };
}

/** The failure of a check. */
export function mismatch(what: string, expected: string, found: string): AssertionFailedError {
  return new AssertionFailedError(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
}
