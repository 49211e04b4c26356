import { readFile, readlink } from 'node:fs/promises';

/** Names this process as no later one is named: its id, when it started, and where such ids mean something. */
export async function processIdentity(): Promise<string> {
  return `${process.pid} ${await processStart(process.pid)} ${await processSpace()}`;
}

/** Whether the process that a name is of still runs. True for one of another host, boot or container: its id means nothing here. */
export async function processLives(identity: string): Promise<boolean> {
  const [pid, start, space] = identity.trim().split(' ');
  if (pid === undefined || start === undefined || space !== (await processSpace())) return true;
  return (await processStart(Number(pid))) === start;
}

/** When a process started, in clock ticks since boot. @see proc_pid_stat(5) */
async function processStart(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 'gone';
}

/** Where process ids mean the same: this boot of this host, this PID namespace. */
async function processSpace(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown');
  const namespace = await readlink('/proc/self/ns/pid').catch(() => 'unknown');
  return `${boot.trim()}/${namespace}`;
}
