import { type Argument, Command, InvalidArgumentError, type Option } from 'commander';
import { nearestWord } from '../../lib/run/did-you-mean.ts';

/** What a command says of itself. Its work is in a module of its own, which is loaded when the command runs: `--help` needs nothing
 *  of what builds images and boots machines. */
export interface Declaration {
  readonly name: string;
  readonly description: string;
  readonly arguments?: readonly Argument[];
  readonly options: readonly Option[];
  /** Below the options, in `--help`. */
  readonly examples?: string;
  readonly exitStatus: string;
  /** @param given the command line as it was read. @returns the exit status. */
  run(given: Given): Promise<number>;
}

export interface Given {
  readonly arguments: readonly (string | undefined)[];
  // biome-ignore lint/suspicious/noExplicitAny: commander's own type; each command's module says what its flags are.
  readonly flags: any;
  /** Whether the user wrote a flag, or has its default. By the name it has in `flags`. */
  isGiven(flag: string): boolean;
  /** Ends what the command does, in order. */
  readonly signal: AbortSignal;
}

function shown(argument: Argument): string {
  return argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
}

/** A copy of an option that names the nearest of its choices where it refuses a value. */
function suggestingChoices(option: Option): Option {
  const { argChoices: choices, parseArg: parse } = option;
  if (choices === undefined || parse === undefined) return option;
  const copy: Option = Object.assign(Object.create(Object.getPrototypeOf(option)), option);
  return copy.argParser<unknown>((value, previous) => {
    try {
      return parse(value, previous);
    } catch (error) {
      const nearest = nearestWord(value, choices);
      if (nearest === undefined || !(error instanceof InvalidArgumentError)) throw error;
      throw new InvalidArgumentError(`${error.message} Did you mean ${nearest}?`);
    }
  });
}

/** The command as commander has it. */
export function makeCommand(declaration: Declaration, signal: AbortSignal): Command {
  const command = new Command(declaration.name).description(declaration.description);
  for (const argument of declaration.arguments ?? []) command.addArgument(argument);
  for (const option of declaration.options) command.addOption(suggestingChoices(option));
  // Arguments first: an option with several values takes whatever stands behind it.
  command.usage([...(declaration.arguments ?? []).map(shown), '[options]'].join(' '));
  const { examples, exitStatus } = declaration;
  return command
    .addHelpText('after', `\n${examples === undefined ? '' : `${examples.trim()}\n\n`}Exit status: ${exitStatus}.`)
    .action(async (...received: unknown[]) => {
      process.exitCode = await declaration.run({
        arguments: received.slice(0, -2) as (string | undefined)[],
        flags: command.opts(),
        isGiven: (flag) => command.getOptionValueSource(flag) === 'cli',
        signal,
      });
    });
}
