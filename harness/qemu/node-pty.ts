import { HarnessError } from '../errors.ts';

/** Loads node-pty. Its native part is compiled at installation: pnpm, Yarn and `npm install --ignore-scripts` skip that.
 *  @throws {HarnessError} with the command that compiles it. */
export async function loadNodePty(): Promise<typeof import('node-pty')> {
  return import('node-pty').catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HarnessError(`node-pty cannot be loaded: ${reason.split('\n')[0]}`, {
      cause,
      hint: `compile it for Node ${process.version}: ${compileCommand()} (needs g++, make and python3)`,
    });
  });
}

/** npm compiles also what Yarn has put into node_modules; pnpm has a layout of its own. */
function compileCommand(): string {
  const isPnpm = import.meta.dirname.includes('/node_modules/.pnpm/');
  return isPnpm ? 'pnpm approve-builds node-pty' : 'npm rebuild node-pty --ignore-scripts=false';
}
