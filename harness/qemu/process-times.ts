import { readdirSync, readFileSync } from 'node:fs';

/** How much a process has computed, and how much it waited for a processor that others had. Milliseconds.
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
    // It has ended, or the host's kernel does not tell: then waits last as long as the clock says.
  }
  return { computedMs: computed / 1e6, waitedMs: waited / 1e6 };
}
