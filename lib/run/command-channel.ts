import { AsyncLocalStorage } from 'node:async_hooks';
import { channel } from 'node:diagnostics_channel';

/** Publishes every command that a step runs, for tests and tracing, independent of onEvent.
 *  @see https://nodejs.org/docs/latest-v20.x/api/diagnostics_channel.html */
const COMMANDS = channel('nixos-disk-image:command');

/** The step whose body is running. */
export const runningStep = new AsyncLocalStorage<string>();

/** Publishes a command, unless nobody subscribed. */
export function publishCommand(argv: readonly string[], executor: string): void {
  if (COMMANDS.hasSubscribers) COMMANDS.publish({ step: runningStep.getStore(), argv, executor });
}
