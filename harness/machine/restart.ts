import type { LiveMachine } from './live-machine.ts';
import { waitUntil } from './wait.ts';

/** Restarts a guest and waits for its reset.
 *  @param requestReboot makes the guest reboot; without it, QEMU resets the machine. */
export async function restart(
  machine: LiveMachine,
  timeoutMs: number,
  requestReboot: (() => void) | undefined,
): Promise<void> {
  // By default a reset ends the machine, because an endless loop of resets would never boot.
  machine.expectsReset = true;
  await machine.qmp('set-action', { reboot: 'reset' });
  const before = machine.events.length;
  const isReset = (): true | undefined =>
    machine.events.slice(before).some(({ event }) => event === 'RESET') ? true : undefined;
  if (requestReboot === undefined) await machine.qmp('system_reset');
  else requestReboot();
  await waitUntil(machine, isReset, 'the guest to reset', timeoutMs);
  await machine.qmp('set-action', { reboot: 'shutdown' });
  machine.expectsReset = false;
  machine.console.answersQuestions = true;
  machine.console.releaseLines();
  machine.console.skip();
  machine.watch.restart();
}
