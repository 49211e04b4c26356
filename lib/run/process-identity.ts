import { readFile, readlink } from 'node:fs/promises';

/** Identifies the scope in which process IDs are comparable: this boot of this host, and this PID namespace. */
export async function processSpace(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown');
  const namespace = await readlink('/proc/self/ns/pid').catch(() => 'unknown');
  return `${boot.trim()}/${namespace}`;
}
