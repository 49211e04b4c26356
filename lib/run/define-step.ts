import type { z } from 'zod';
import { InvalidOptionsError } from './errors.ts';
import type { Executor } from './executor.ts';
import { localExecutor } from './local-executor.ts';
import { type CrossRule, parseOptions } from './parse-options.ts';
import { runStep, type StepContext, type StepRunner } from './step.ts';

/** What a step says of itself, beside what it does: documentation, `doctor` and tests read it here. */
export interface StepFacts {
  readonly name: string;
  readonly optionNames: readonly string[];
  /** The programs that it runs by name, in alphabetical order; not those of the system that it enters, nor any that its caller
   *  names by a path. */
  readonly runs: readonly string[];
}

type Call<O, R, C> = object extends O
  ? (options?: O, context?: C) => Promise<R>
  : (options: O, context?: C) => Promise<R>;

/** A step of a build: options in, facts out. Its programs run where the context's executor runs them; its paths are the ones that
 *  the executor sees. */
export type Step<O, R, C extends StepContext = StepContext> = Call<O, R, C> & StepFacts;

/** Where a step's programs run. */
interface Place {
  readonly executor: Executor;
  /** Whether it sees the files that this process sees. */
  readonly onHost: boolean;
}

/** The options of T, each that was renamed under its name or under its old one. */
export type WithOldNames<T, N extends OldNames<T>> = [keyof N] extends [never]
  ? T
  : Omit<T, N[keyof N]> & OneOfEach<T, N>;

/** By old name, what the option is called now. */
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
  /** Old names of options, which are taken until the next minor version. */
  readonly oldNames?: N;
  /** Rules over several options. */
  readonly rules?: readonly CrossRule<z.output<S>>[];
  readonly runs: readonly string[];
  /** "host": it reads or writes files of this process itself, so its executor must see them. "anywhere": it does everything by the
   *  programs that it runs. */
  readonly where: 'host' | 'anywhere';
  /** Refuses what is wrong with what was given, before the step starts. */
  readonly prepare?: (options: z.output<S>, place: Place) => Promise<P>;
  /** What it works on, for the start event. */
  readonly detail?: (options: z.output<S>, prepared: P) => string | undefined;
  readonly run: (step: StepRunner, options: z.output<S>, prepared: P) => Promise<R>;
}

/** Makes a step of its definition: its options are parsed, all that is wrong with them is said at once, and only then it starts.
 *  The step throws {InvalidOptionsError} for wrong options, and for an executor that does not see this host's files where it
 *  must. */
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
        { hint: 'an executor of your own that runs on this host says so: seesHostFiles: true' },
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

/** @throws {InvalidOptionsError} when an option is given under both of its names. */
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
