#!/usr/bin/env node
import { CommanderError } from 'commander';
import { onCacheNote } from '../harness/cache-directory.ts';
import { isErrno, wordsFor } from '../lib/run/errno.ts';
import { EXIT, errorText, exitCodeOf, ReaderGone } from './exit-codes.ts';
import { makeProgram } from './program.ts';
import { packageVersion } from './version.ts';

/** Ends everything in order on Ctrl-C, SIGTERM and a closed terminal; a second signal ends it at once. */
const interrupt = new AbortController();
let interruptedAt = 0;
/** Signals this close together are one: timeout(1) signals the child, and then its group. */
const ONE_SIGNAL_MS = 1000;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (interrupt.signal.aborted) {
      if (performance.now() - interruptedAt < ONE_SIGNAL_MS) return;
      process.exit(EXIT.interrupted);
    }
    interruptedAt = performance.now();
    process.stderr.write(`\n${signal}: stopping and cleaning up; once more to stop at once\n`);
    interrupt.abort(new Error(signal));
  });

// The reader has gone away: clean up and stop silently. Output that cannot be written for another reason is a failure.
process.stderr.on('error', () => interrupt.abort(new ReaderGone()));
let outputIsLost = false;
process.stdout.on('error', (error) => {
  if (!isErrno(error, 'EPIPE') && !outputIsLost) {
    outputIsLost = true;
    process.stderr.write(`standard output cannot be written: ${wordsFor(error)}\n`);
  }
  interrupt.abort(new ReaderGone());
});
process.on('exit', () => {
  if (outputIsLost) process.exitCode = EXIT.harness;
});

onCacheNote((note) => process.stderr.write(`note: ${note}\n`));

try {
  await makeProgram(await packageVersion(), interrupt.signal).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.good : EXIT.usage;
  else {
    process.stderr.write(`${errorText(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
