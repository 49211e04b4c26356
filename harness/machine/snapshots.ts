import { randomBytes } from 'node:crypto';
import { HarnessError } from '../errors.ts';
import type { LiveMachine } from './live-machine.ts';
import { waitUntil } from './wait.ts';

/** Saves a machine's memory and disk in its overlay. @see QMP snapshot-save */
export async function saveSnapshot(machine: LiveMachine, tag: string, timeoutMs: number): Promise<void> {
  await runJob(machine, 'snapshot-save', tag, timeoutMs);
}

/** Restores a machine's memory and disk from its overlay. @see QMP snapshot-load */
export async function restoreSnapshot(machine: LiveMachine, tag: string, timeoutMs: number): Promise<void> {
  await runJob(machine, 'snapshot-load', tag, timeoutMs);
  machine.console.skip();
}

async function runJob(
  machine: LiveMachine,
  command: 'snapshot-save' | 'snapshot-load',
  tag: string,
  timeoutMs: number,
): Promise<void> {
  const job = `${command}-${randomBytes(4).toString('hex')}`;
  const concluded = (): true | undefined =>
    machine.events.some(
      ({ event, data }) => event === 'JOB_STATUS_CHANGE' && data.id === job && data.status === 'concluded',
    )
      ? true
      : undefined;
  await machine.qmp(command, { 'job-id': job, tag, vmstate: 'disk', devices: ['disk'] });
  await waitUntil(machine, concluded, `QEMU to finish ${command}`, timeoutMs);
  const jobs = (await machine.qmp('query-jobs')) as { id: string; error?: string }[];
  await machine.qmp('job-dismiss', { id: job });
  const error = jobs.find(({ id }) => id === job)?.error;
  if (error !== undefined) throw new HarnessError(`${machine.parts.name}: ${command}: ${error}`);
}
