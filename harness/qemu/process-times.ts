import { readdirSync, readFileSync } from 'node:fs';

/** The CPU time of a process, and the time that it was runnable but waited for a CPU, in milliseconds.
 *  @see proc(5) and the kernel's Documentation/scheduler/sched-stats.rst, "/proc/<pid>/schedstat" */
export interface ProcessTimes {
  readonly computedMs: number;
  readonly waitedMs: number;
}

export function processTimes(pid: number): ProcessTimes {
  let [computed, waited] = [0, 0];
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const [cpu, delay] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ').map(Number);
      computed += cpu ?? 0;
      waited += delay ?? 0;
    }
  } catch {
    // The process has ended, or the host's kernel has no schedstat: then waits are measured by the clock alone.
  }
  return { computedMs: computed / 1e6, waitedMs: waited / 1e6 };
}
