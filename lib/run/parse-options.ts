import { z } from 'zod';
import { nearestWord } from './did-you-mean.ts';
import { InvalidOptionsError, type OptionIssue } from './errors.ts';

/** A rule over several options. Options that are invalid by themselves are `undefined` there. */
export type CrossRule<T> = (options: Partial<T>) => readonly OptionIssue[];

/** Parses options field by field, then applies the rules between fields, and reports all issues at once.
 *  zod alone would skip the rules between fields if a single field is invalid.
 *  @throws {InvalidOptionsError} */
export function parseOptions<S extends z.ZodObject>(
  what: string,
  schema: S,
  input: unknown,
  rules: readonly CrossRule<z.output<S>>[] = [],
): z.output<S> {
  const parsed = schema.strict().safeParse(input, { reportInput: true });
  const issues = parsed.success ? [] : parsed.error.issues.flatMap((issue) => toOptionIssues(issue, schema));
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

function toOptionIssues(issue: z.core.$ZodIssue, schema: z.ZodObject): OptionIssue[] {
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => ({
      path: formatPath([...issue.path, key]),
      message: `there is no such option${suggestion(key, known)}`,
    }));
  }
  if (issue.code === 'invalid_value' && typeof issue.input === 'string') {
    const known = issue.values.filter((value) => typeof value === 'string');
    return [{ path: formatPath(issue.path), message: `${issue.message}${suggestion(issue.input, known)}` }];
  }
  const missing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined');
  return [{ path: formatPath(issue.path), message: missing ? 'is required' : issue.message }];
}

/** The names of the options that exist at the path of an issue. */
function keysAt(schema: z.ZodObject, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of path) {
    at = unwrapped(at);
    if (at instanceof z.ZodObject) at = at.shape[String(key)];
    else if (at instanceof z.ZodArray) at = at.element;
  }
  at = unwrapped(at);
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  let at = schema;
  while (at instanceof z.ZodDefault || at instanceof z.ZodOptional || at instanceof z.ZodReadonly) at = at.unwrap();
  return at;
}

function suggestion(word: string, known: readonly string[]): string {
  const nearest = nearestWord(word, known);
  return nearest === undefined ? '' : `; did you mean "${nearest}"?`;
}

/** `contents[2].user` */
function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
}
