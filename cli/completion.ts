import { bashCompletion } from './completion/bash.ts';
import { describeCommands } from './completion/described.ts';
import { fishCompletion } from './completion/fish.ts';
import { zshCompletion } from './completion/zsh.ts';
import { EXIT } from './exit-codes.ts';
import { makeProgram } from './program.ts';

const SCRIPTS = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion };
export type Shell = keyof typeof SCRIPTS;

/** Prints a script that knows every command and option by itself: completing starts no program, and evaluates nothing of the line. The
 *  scripts of @bomb.sh/tab and @pnpm/tabtab do: `> file` on the line empties the file, `(command)` in a name is run. */
export async function completionCommand(shell: Shell, signal: AbortSignal): Promise<number> {
  process.stdout.write(SCRIPTS[shell](describeCommands(makeProgram('', signal))));
  return EXIT.good;
}
