import { HarnessError } from '../errors.ts';

/** node-pty, whose native part is compiled when it is installed: which `npm install --ignore-scripts` leaves out, and which another
 *  version of Node may not be able to load.
 *  @throws {HarnessError} with what to do. */
export async function loadNodePty(): Promise<typeof import('node-pty')> {
  return import('node-pty').catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HarnessError(`node-pty cannot be loaded: ${reason.split('\n')[0]}`, {
      cause,
      hint: `compile it for Node ${process.version}: npm rebuild node-pty --ignore-scripts=false (needs g++, make and python3)`,
    });
  });
}
