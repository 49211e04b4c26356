import { readFile, writeFile } from 'node:fs/promises';
import { isErrno } from '../../lib/run/errno.ts';
import { formatDuration } from '../../lib/units.ts';
import { AssertionFailedError } from '../errors.ts';
import { quote } from '../machine/guest-shell.ts';
import type { Machine } from '../machine/machine.ts';
import type { FirmwareName } from '../machine/machine-spec.ts';

/** Something that must be true inside a booted machine. */
export interface BootCheck {
  /** In a few words, for the report. */
  readonly name: string;
  /** @throws {AssertionFailedError} when it is not.
   *  @returns what was found, for the report. */
  readonly run: (machine: Machine) => Promise<string | undefined>;
}

/** The kernel was started by the firmware it was meant to be: /sys/firmware/efi is there exactly under EFI. */
export function checkFirmwareMode(firmware: FirmwareName): BootCheck {
  const expected = firmware === 'efi' ? 'efi' : 'no efi';
  return equalCheck('firmware mode', '[ -d /sys/firmware/efi ] && echo efi || echo no efi', expected);
}

/** The kernel was given `init=` of this system, and it is the current one. */
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

/** The root filesystem is the one that was made: the device with this UUID and label is what is mounted on `/`. UUID in
 *  lower case. */
export function checkRootFilesystem(expected: {
  readonly uuid?: string | undefined;
  readonly label?: string | undefined;
}): BootCheck {
  return {
    name: 'root filesystem',
    async run(machine) {
      const number = (file: string): string => `echo $(( 0x$(stat -c %t ${file}) * 256 + 0x$(stat -c %T ${file}) ))`;
      // A btrfs has a device number of its own; /dev/root is no device.
      const source = String.raw`sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* / .* - [^ ]* \([^ ]*\) .*|\1|p' /proc/self/mountinfo`;
      const mounted = await machine.succeed(
        `s=$(${source} | tail -n 1); if [ -b "$s" ]; then ${number('$s')}; else stat -c %d /; fi`,
      );
      for (const [tag, value] of [
        ['UUID', expected.uuid],
        ['LABEL', expected.label],
      ]) {
        if (value === undefined) continue;
        // findfs is in util-linux and in busybox; the name of the device in /proc/mounts may be /dev/root.
        const device = await machine.succeed(`d=$(readlink -f $(findfs ${tag}=${value})) && ${number('$d')}`);
        if (device !== mounted)
          throw mismatch(`the device number of the filesystem with ${tag} ${value}`, `${mounted}, which is /`, device);
      }
      return `${expected.label ?? ''} ${expected.uuid ?? ''}`.trim();
    },
  };
}

/** Every path of the Nix store has the contents that its database says. */
export const checkStoreContents: BootCheck = {
  name: 'store contents',
  async run(machine) {
    await machine.succeed('nix-store --verify --check-contents');
    return undefined;
  },
};

/** No systemd unit has failed. */
export const checkFailedUnits: BootCheck = {
  name: 'failed units',
  async run(machine) {
    const failed = await machine.succeed('systemctl --failed --no-legend --plain');
    if (failed.trim() !== '') throw mismatch('failed units', 'none', failed);
    return undefined;
  },
};

/** The root filesystem was found clean: it is not marked as having errors, and is mounted for writing. */
export const checkRootClean: BootCheck = {
  name: 'root filesystem clean',
  async run(machine) {
    const mounted = await machine.succeed(
      String.raw`sed -n 's|^[^ ]* [^ ]* [^ ]* [^ ]* / \([^ ]*\) .*|\1|p' /proc/self/mountinfo | tail -n 1`,
    );
    if (!mounted.split(',').includes('rw')) throw mismatch('the mount options of /', 'rw', mounted);
    // The kernel counts them for ext4; other filesystems refuse to mount.
    const errors = await machine.succeed('cat /sys/fs/ext4/*/errors_count 2>/dev/null | sort -n | tail -n 1');
    if (errors !== '' && errors !== '0') throw mismatch('errors counted by ext4', '0', errors);
    return mounted;
  },
};

/** The root partition can grow to the end of a disk that is larger than the image: nothing lies behind it. Give the machine
 *  more with `diskBytes`. */
export const checkRootGrowable: BootCheck = {
  name: 'root growable',
  async run(machine) {
    // From sysfs: the partition of / and those that begin behind it, in sectors.
    const script = String.raw`
      d=$(sed -n 's|^[^ ]* [^ ]* \([0-9:]*\) [^ ]* / .*|\1|p' /proc/self/mountinfo | tail -n 1)
      p=$(readlink -f /sys/dev/block/$d); [ -e $p/partition ] || { echo whole disk; exit 0; }
      end=$(( $(cat $p/start) + $(cat $p/size) )); disk=$(cat $p/../size); behind=0
      for q in $p/../*/start; do [ $(cat $q) -lt $end ] || behind=1; done
      echo $end $disk $behind`;
    const found = await machine.succeed(script);
    const [end, disk, behind] = found.split(' ');
    if (behind === '1') throw mismatch('partitions behind the root partition', 'none', `one behind sector ${end}`);
    return disk === undefined ? found : `ends at sector ${end} of ${disk}`;
  },
};

/** The machine made an id of its own: none came with the image. @see machine-id(5) */
export function checkFreshMachineId(inImage?: string): BootCheck {
  return {
    name: 'machine id',
    async run(machine) {
      const id = await machine.succeed('cat /etc/machine-id');
      if (!/^[0-9a-f]{32}$/.test(id)) throw mismatch('/etc/machine-id', '32 hexadecimal digits', id);
      if (id === inImage) throw mismatch('/etc/machine-id', 'another than the image has', id);
      return id;
    },
  };
}

/** Files have these owners and modes. Owners by number or name, modes in octal. */
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

/** Secure Boot is on or off, as the firmware told the kernel. @see efivars; SecureBoot has four bytes of attributes and one */
export function checkSecureBoot(expected: 'on' | 'off'): BootCheck {
  const variable = '/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c';
  const command = `mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null; v=$(od -An -tu1 ${variable} 2>/dev/null | tr -d ' \n'); case $v in *1) echo on;; *) echo off;; esac`;
  return equalCheck('secure boot', command, expected);
}

/** The login prompt came within a time that earlier boots took, give or take. Only ratios to a baseline from the same host mean
 *  something: the file keeps one for each image name, firmware and accelerator, and is made at the first boot.
 *  @param tolerance how many times as long it may take; default 1.5. */
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
        return `${formatDuration(atMs)}, the first: now the baseline`;
      }
      if (atMs > baseline * tolerance)
        throw mismatch('time to login', `at most ${tolerance} × ${formatDuration(baseline)}`, formatDuration(atMs));
      return `${formatDuration(atMs)}; baseline ${formatDuration(baseline)}`;
    },
  };
}

/** A shell command whose output must be `expected`. */
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

/** A shell command that must succeed. */
export function commandCheck(command: string): BootCheck {
  return { name: command, run: (machine) => machine.succeed(command) };
}

function mismatch(what: string, expected: string, found: string): AssertionFailedError {
  return new AssertionFailedError(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
}
