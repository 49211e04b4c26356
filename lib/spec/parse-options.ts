import type { z } from 'zod';
import { InvalidOptionsError, type OptionIssue } from '../errors.ts';

/** A rule over several options. It sees those that are right by themselves, the others as `undefined`. */
export type CrossRule<T> = (options: Partial<T>) => readonly OptionIssue[];

/** Parses options field by field, then applies the rules between fields, and reports everything at once.
 *  zod alone would not come to the rules between fields while a single field is wrong.
 *  @throws {InvalidOptionsError} */
export function parseOptions<S extends z.ZodObject>(
  what: string,
  schema: S,
  input: unknown,
  rules: readonly CrossRule<z.output<S>>[] = [],
): z.output<S> {
  const parsed = schema.strict().safeParse(input);
  const issues: OptionIssue[] = parsed.success ? [] : parsed.error.issues.map(toOptionIssue);
  const readable = parsed.success ? parsed.data : readableFields(schema, input);
  for (const rule of rules) issues.push(...rule(readable as Partial<z.output<S>>));
  if (issues.length > 0) throw new InvalidOptionsError(what, issues);
  return readable as z.output<S>;
}

function readableFields(schema: z.ZodObject, input: unknown): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  if (typeof input !== 'object' || input === null) return fields;
  for (const [name, field] of Object.entries(schema.shape)) {
    const parsed = (field as z.ZodType).safeParse((input as Record<string, unknown>)[name]);
    if (parsed.success) fields[name] = parsed.data;
  }
  return fields;
}

function toOptionIssue(issue: z.core.$ZodIssue): OptionIssue {
  const missing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined');
  return { path: formatPath(issue.path), message: missing ? 'is required' : issue.message };
}

/** `contents[2].user` */
function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
}
