import { AbortedError, DiskImageError } from 'nixos-disk-image';
import { build } from './build.js';

const [toplevel, target, store] = process.argv.slice(2);
if (toplevel === undefined || target === undefined) {
  console.error('usage: npm start -- TOPLEVEL TARGET [STORE]');
  process.exit(2);
}

// Ctrl-C and SIGTERM end the build in order, and so does a time limit.
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupt.abort());
const signal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(30 * 60_000)]);

try {
  await build({ toplevel, target, store, signal });
  console.log(target);
} catch (error) {
  if (!(error instanceof DiskImageError)) throw error;
  console.error(error.message);
  process.exitCode = error instanceof AbortedError ? 130 : 1;
}
