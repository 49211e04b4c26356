import { Command } from 'commander';
import { build } from './commands/build.ts';
import { completion } from './commands/completion.ts';
import { makeCommand } from './commands/declare.ts';
import { diff } from './commands/diff.ts';
import { doctor } from './commands/doctor.ts';
import { inspect } from './commands/inspect.ts';
import { keys } from './commands/keys.ts';
import { run } from './commands/run.ts';
import { schema } from './commands/schema.ts';
import { shrink } from './commands/shrink.ts';
import { size } from './commands/size.ts';
import { verify } from './commands/verify.ts';
import { aboutUnknownCommand } from './unknown-command.ts';

const COMMANDS = [build, verify, inspect, diff, schema, run, doctor, completion, keys, size, shrink];

/** The command line: every command, its arguments and its help.
 *  @param signal ends what a command does, in order. */
export function makeProgram(version: string, signal: AbortSignal): Command {
  const program = new Command('nixos-disk-image')
    .description('Builds NixOS disk images from system closures, and boots images to verify them.')
    .version(version)
    .showSuggestionAfterError()
    .showHelpAfterError('(--help shows all options)')
    .exitOverride();
  for (const declaration of COMMANDS) {
    const command = makeCommand(declaration, signal).copyInheritedSettings(program);
    program.addCommand(command);
  }
  program.on('command:*', ([name = '']: readonly string[]) => {
    const names = COMMANDS.map((one) => one.name);
    program.error(aboutUnknownCommand(name, names), { code: 'commander.unknownCommand' });
  });
  return program;
}
