import { HarnessError } from '../errors.ts';

/** Loads node-pty. Its native part is compiled at installation: `npm install --ignore-scripts` skips that, and another version of
 *  Node may not be able to load it.
 *  @throws {HarnessError} with the command that compiles it. */
export async function loadNodePty(): Promise<typeof import('node-pty')> {
  return import('node-pty').catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HarnessError(`node-pty cannot be loaded: ${reason.split('\n')[0]}`, {
      cause,
      hint: `compile it for Node ${process.version}: npm rebuild node-pty --ignore-scripts=false (needs g++, make and python3)`,
    });
  });
}
