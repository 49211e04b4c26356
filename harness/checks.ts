import { AssertionFailedError } from './errors.ts';
import type { Machine } from './machine.ts';
import type { Firmware } from './machine-spec.ts';

/** Something that must be true inside a booted machine. */
export interface BootCheck {
  /** In a few words, for the report. */
  readonly name: string;
  /** @throws {AssertionFailedError} when it is not.
   *  @returns what was found, for the report. */
  readonly run: (machine: Machine) => Promise<string | undefined>;
}

/** The kernel was started by the firmware it was meant to be: /sys/firmware/efi is there exactly under EFI. */
export function checkFirmwareMode(firmware: Firmware): BootCheck {
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
