import { z } from 'zod';

/** What of a type matters in JSON: a field that may be undefined is one that may be missing. */
type Shape<T> = T extends readonly (infer Element)[]
  ? readonly Shape<Element>[]
  : T extends object
    ? { [K in keyof Required<T>]: undefined extends T[K] ? { optional: Shape<Exclude<T[K], undefined>> } : Shape<T[K]> }
    : T;

type Same<A, B> = [Shape<A>, Shape<B>] extends [Shape<B>, Shape<A>] ? true : false;

/** A schema of what `--json` prints, which the compiler holds against the type of the result:
 *  `resultSchema<Difference>()(z.object({ … }))` does not compile while a field is missing, or is another. */
export function resultSchema<T>(): <S extends z.ZodType>(schema: Same<T, z.output<S>> extends true ? S : never) => S {
  return (schema) => schema;
}

/** As JSON Schema. Objects are open: a later version may add fields. */
export function resultJsonSchema(title: string, schema: z.ZodType): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return { $schema, title: `nixos-disk-image: ${title}`, ...rest };
}
