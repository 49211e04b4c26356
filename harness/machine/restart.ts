import type { LiveMachine } from './live-machine.ts';
import { waitUntil } from './wait.ts';

/** Has a guest restart, and waits until it has.
 *  @param tell tells the guest to; without it, the machine is reset. */
export async function restart(machine: LiveMachine, timeoutMs: number, tell: (() => void) | undefined): Promise<void> {
  // A machine here ends at a reset: one that resets itself for ever would be no boot.
  machine.expectsReset = true;
  await machine.qmp('set-action', { reboot: 'reset' });
  const before = machine.events.length;
  const isReset = (): true | undefined =>
    machine.events.slice(before).some(({ event }) => event === 'RESET') ? true : undefined;
  if (tell === undefined) await machine.qmp('system_reset');
  else tell();
  await waitUntil(machine, isReset, 'the guest to reset', timeoutMs);
  await machine.qmp('set-action', { reboot: 'shutdown' });
  machine.expectsReset = false;
  machine.console.answersQuestions = true;
  machine.console.releaseLines();
  machine.console.skip();
  machine.watch.restart();
}
