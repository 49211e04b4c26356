import type { Machine } from '../machine/machine.ts';

/** How long each part of a boot took by systemd's own clock, in milliseconds. What systemd does not know is undefined. */
export interface SystemdTimes {
  /** Firmware and loader, of which only an EFI loader that says so is known. */
  readonly firmwareMs: number | undefined;
  readonly loaderMs: number | undefined;
  /** Until the first systemd ran, in the initrd or on the root. */
  readonly kernelMs: number;
  readonly initrdMs: number | undefined;
  /** Until the boot was finished; undefined: it was not when somebody asked. */
  readonly userspaceMs: number | undefined;
}

const PROPERTIES = ['Firmware', 'Loader', 'InitRD', 'Userspace', 'Finish'] as const;

/** Asks where systemd runs as process 1, and not for long: nothing depends on the answer. @see sd_booted(3), systemctl(1) show */
const QUESTION = `test -d /run/systemd/system && timeout 20 systemctl show ${PROPERTIES.map((name) => `--property=${name}TimestampMonotonic`).join(' ')} 2> /dev/null`;

/** What systemd-analyze(1) computes from the same properties, which have a fixed form and no language.
 *  @see org.freedesktop.systemd1(5), "FinishTimestampMonotonic" */
export async function systemdTimes(machine: Machine): Promise<SystemdTimes | undefined> {
  return parseSystemdTimes((await machine.execute(QUESTION)).output);
}

/** @param output of `systemctl show`, in microseconds; zero where there is no time. Firmware and loader count backwards from the
 *  kernel's start. */
export function parseSystemdTimes(output: string): SystemdTimes | undefined {
  const at = (name: (typeof PROPERTIES)[number]): number =>
    Number(new RegExp(`^${name}TimestampMonotonic=(\\d+)\\r?$`, 'm').exec(output)?.[1] ?? 0);
  const [firmware, loader, initrd, userspace, finish] = [
    at('Firmware'),
    at('Loader'),
    at('InitRD'),
    at('Userspace'),
    at('Finish'),
  ];
  if (userspace === 0) return undefined;
  const unlessUnknown = (time: number, tookMicroseconds: number): number | undefined =>
    time === 0 ? undefined : tookMicroseconds / 1000;
  return {
    firmwareMs: unlessUnknown(firmware, firmware - loader),
    loaderMs: unlessUnknown(loader, loader),
    kernelMs: (initrd || userspace) / 1000,
    initrdMs: unlessUnknown(initrd, userspace - initrd),
    userspaceMs: unlessUnknown(finish, finish - userspace),
  };
}
