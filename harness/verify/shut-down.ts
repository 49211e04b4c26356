import { BootFailedError, WaitTimeoutError } from '../errors.ts';
import type { Machine } from '../machine/machine.ts';
import { type Cause, shutdownCause, shutdownFailure } from '../verdict/verdict.ts';

/** How long a guest has to react to its power button if no command can power it off. */
const POWER_BUTTON_MS = 15_000;

export interface ShutDown {
  /** Whether the guest powered itself off. */
  readonly clean: boolean;
  readonly cause: Cause | undefined;
  readonly warning: string | undefined;
}

/** Powers the guest off: by a command if the user may run it, otherwise by the power button, to which not every guest reacts. */
export async function shutDown(
  machine: Machine,
  timeoutMs: number | undefined,
  { atOnce }: { readonly atOnce: boolean },
): Promise<ShutDown> {
  if (atOnce) {
    await machine.crash();
    return { clean: false, cause: undefined, warning: undefined };
  }
  const mayPowerOff = await machine.mayPowerOff();
  try {
    const patience = mayPowerOff ? timeoutMs : POWER_BUTTON_MS;
    const exit = await machine.shutdown({
      hang: 'as usual',
      ...(patience === undefined ? {} : { timeoutMs: patience }),
    });
    const clean = exit.reason === 'guest-shutdown';
    const found = exit.reason ?? `QEMU exited with status ${exit.exitCode}`;
    return { clean, cause: clean || !mayPowerOff ? undefined : shutdownCause(found), warning: undefined };
  } catch (error) {
    if (mayPowerOff && error instanceof BootFailedError) {
      await machine.crash();
      return { clean: false, cause: shutdownFailure(error), warning: undefined };
    }
    if (mayPowerOff || !(error instanceof WaitTimeoutError)) throw error;
    await machine.crash();
    const warning = 'the guest did not react to its power button and was killed';
    return { clean: false, cause: undefined, warning };
  }
}
