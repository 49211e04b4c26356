import type { Argument, Command, Option } from 'commander';

/** What shells complete: the command line as commander has it, without what only its help needs. */

/** What may stand as a value. */
export type Value =
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'file' | 'directory' | 'text' };

export interface DescribedOption {
  /** `--out`, and `-o` where there is one. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined for a switch. */
  readonly value: Value | undefined;
  /** Takes all words up to the next option. */
  readonly isVariadic: boolean;
}

export interface DescribedCommand {
  readonly name: string;
  readonly description: string;
  readonly options: readonly DescribedOption[];
  readonly arguments: readonly Value[];
}

export function describeCommands(program: Command): DescribedCommand[] {
  return program.commands.map((command) => ({
    name: command.name(),
    description: firstPart(command.description()),
    options: command.createHelp().visibleOptions(command).map(describeOption),
    arguments: command.registeredArguments.map(valueOfArgument),
  }));
}

function describeOption(option: Option): DescribedOption {
  return {
    names: [option.long, option.short].filter((name) => name !== undefined),
    description: firstPart(option.description),
    value: valueOfOption(option),
    isVariadic: option.variadic,
  };
}

/** What stands before the first semicolon, or in the first sentence: completions have one line each. */
function firstPart(description: string): string {
  return description.split(/;|\.(?= |$)/)[0] ?? '';
}

function valueOfOption({ flags, required, argChoices: choices }: Option): Value | undefined {
  if (!required) return undefined;
  if (choices !== undefined) return { kind: 'choice', choices };
  if (/<directory>/.test(flags)) return { kind: 'directory' };
  return { kind: /<(?:file|path)(?:\.\.\.)?>/.test(flags) ? 'file' : 'text' };
}

/** An argument that is not one of several words is a file. */
function valueOfArgument({ argChoices: choices }: Argument): Value {
  return choices === undefined ? { kind: 'file' } : { kind: 'choice', choices };
}
