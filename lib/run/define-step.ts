import type { z } from 'zod';
import { InvalidOptionsError } from './errors.ts';
import type { Executor } from './executor.ts';
import { localExecutor } from './local-executor.ts';
import { type CrossRule, parseOptions } from './parse-options.ts';
import { runStep, type StepContext, type StepRunner } from './step.ts';

/** Facts about a step, which the documentation, `doctor` and tests use. */
export interface StepFacts {
  readonly name: string;
  readonly optionNames: readonly string[];
  /** The programs that it finds on the PATH, in alphabetical order. Excludes programs of a system that it enters, and
   *  programs that the caller passes by path. */
  readonly runs: readonly string[];
}

type Call<O, R, C> = object extends O
  ? (options?: O, context?: C) => Promise<R>
  : (options: O, context?: C) => Promise<R>;

/** A step of a build: options in, facts out. The context's executor runs its programs, and resolves its paths. */
export type Step<O, R, C extends StepContext = StepContext> = Call<O, R, C> & StepFacts;

/** The place in which a step's programs run. */
interface Place {
  readonly executor: Executor;
  /** Whether the executor sees the same files as this process. */
  readonly onHost: boolean;
}

/** The options of T, where each renamed option may be given under its current or its old name. */
export type WithOldNames<T, N extends OldNames<T>> = [keyof N] extends [never]
  ? T
  : Omit<T, N[keyof N]> & OneOfEach<T, N>;

/** Maps the old name of an option to its current name. */
type OldNames<T> = Readonly<Record<string, keyof T & string>>;

type OneOfEach<T, N extends OldNames<T>> = {
  [Old in keyof N & string]: (either: Pick<T, N[Old]> | Renamed<T, Old, N[Old]>) => void;
}[keyof N & string] extends (either: infer Each) => void
  ? Each
  : never;

type Renamed<T, Old extends string, New extends keyof T> =
  object extends Pick<T, New> ? { readonly [K in Old]?: T[New] } : { readonly [K in Old]: T[New] };

interface StepDefinition<S extends z.ZodObject, R, P, N> {
  readonly name: string;
  readonly options: S;
  /** Old names of options, accepted until the next minor version. */
  readonly oldNames?: N;
  /** Rules over several options. */
  readonly rules?: readonly CrossRule<z.output<S>>[];
  readonly runs: readonly string[];
  /** "host": the step itself reads or writes files of this host, so its executor must see them too. "anywhere": it only
   *  accesses files through the programs that it runs. */
  readonly where: 'host' | 'anywhere';
  /** Checks the inputs before the step starts, and throws when one is invalid. */
  readonly prepare?: (options: z.output<S>, place: Place) => Promise<P>;
  /** Describes what the step works on, for the start event. */
  readonly detail?: (options: z.output<S>, prepared: P) => string | undefined;
  readonly run: (step: StepRunner, options: z.output<S>, prepared: P) => Promise<R>;
}

/** Makes a step from its definition. The step parses its options and reports all problems at once before it starts. It
 *  throws {InvalidOptionsError} for invalid options, and for an executor that does not see this host's files where the
 *  step needs them. */
export function defineStep<
  S extends z.ZodObject,
  R,
  P = undefined,
  const N extends OldNames<z.input<S>> = Readonly<Record<never, never>>,
>(definition: StepDefinition<S, R, P, N>): Step<WithOldNames<z.input<S>, N>, R> {
  const { name, options: schema, oldNames, rules, runs, where, detail, prepare, run } = definition;
  const step = async (given: unknown = {}, context?: StepContext): Promise<R> => {
    const options = parseOptions(name, schema, withNewNames(name, given, oldNames), rules);
    const { executor = localExecutor } = context ?? {};
    const onHost = executor.seesHostFiles === true;
    if (where === 'host' && !onHost)
      throw new InvalidOptionsError(
        name,
        [{ path: 'executor', message: `${executor.name} does not see this host's files` }],
        { hint: 'if your executor runs on this host, set its seesHostFiles to true' },
      );
    const prepared = (await prepare?.(options, { executor, onHost })) as P;
    return runStep(name, context, detail?.(options, prepared), (runner) => run(runner, options, prepared));
  };
  Object.defineProperty(step, 'name', { value: name });
  return Object.assign(step, {
    optionNames: Object.keys(schema.shape),
    runs: [...new Set(runs)].sort(),
  }) as unknown as Step<WithOldNames<z.input<S>, N>, R>;
}

/** Renames options that were given under their old names.
 *  @throws {InvalidOptionsError} when an option is given under both of its names. */
function withNewNames(step: string, given: unknown, oldNames: Readonly<Record<string, string>> = {}): unknown {
  if (typeof given !== 'object' || given === null) return given;
  const twice = Object.entries(oldNames).filter(([old, now]) => old in given && now in given);
  if (twice.length > 0)
    throw new InvalidOptionsError(
      step,
      twice.map(([old, now]) => ({ path: old, message: `is the old name of ${now}, which is given as well` })),
    );
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [oldNames[name] ?? name, value]));
}
