import { readFile, readlink } from 'node:fs/promises';

/** Where process ids mean the same: this boot of this host, this PID namespace. */
export async function processSpace(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown');
  const namespace = await readlink('/proc/self/ns/pid').catch(() => 'unknown');
  return `${boot.trim()}/${namespace}`;
}
