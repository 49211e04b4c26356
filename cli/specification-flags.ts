import { InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { guid, iecSize, mebibytes, menuTimeout, path } from '../lib/spec/fields.ts';
import { IMAGE_SPEC_DESCRIPTIONS, imageSpecSchema } from '../lib/spec/image-spec.ts';
import type { Given } from './commands/declare.ts';

/** The options of an image specification as flags of `build`: derived from its schema, so that none is missing or named otherwise. */

type Name = keyof typeof imageSpecSchema.shape;

/** What means nothing outside of Nix. */
const WITHOUT_FLAG = new Set<Name>(['name']);

/** What stands for the value in `--help`. */
const PLACEHOLDERS = new Map<z.core.$ZodType, string>([
  [path, 'path'],
  [iecSize, 'size'],
  [mebibytes, 'size'],
  [guid, 'uuid'],
  [menuTimeout, 'seconds'],
]);

/** `partitionTableType` as `partition-table-type`, `rootFSUID` as `root-fsuid`. */
function flagName(name: string): string {
  return name.replace(/(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, '-').toLowerCase();
}

/** What a flag says that turns an option off. */
const TURNED_OFF: Partial<Record<Name, string>> = {
  installBootLoader: 'do not install a boot loader',
  editor: 'forbid editing kernel parameters in the menu of systemd-boot',
  deterministic: 'use random identifiers for the disk, its partitions and filesystems',
};

interface Field {
  readonly kind: z.core.$ZodType;
  readonly preset: unknown;
}

/** A field without what says that it may be left out. */
function unwrap(field: z.core.$ZodType): Field {
  let kind = field;
  let preset: unknown;
  while (kind instanceof z.ZodOptional || kind instanceof z.ZodDefault) {
    if (kind instanceof z.ZodDefault) preset = kind.def.defaultValue;
    kind = kind.def.innerType;
  }
  return { kind, preset };
}

/** Of an option that is on or off: the flag that changes its preset, or both flags where there is none. */
function makeSwitches(name: Name, preset: unknown): Option[] {
  const flag = flagName(name);
  const on = new Option(`--${flag}`, IMAGE_SPEC_DESCRIPTIONS[name]);
  const off = new Option(`--no-${flag}`, TURNED_OFF[name]);
  if (preset === undefined) return [on, off];
  return [preset === true ? off : on];
}

function makeOptions(name: Name): Option[] {
  const { kind, preset } = unwrap(imageSpecSchema.shape[name]);
  return kind instanceof z.ZodBoolean ? makeSwitches(name, preset) : [makeOption(name, kind, preset)];
}

function makeOption(name: Name, kind: z.core.$ZodType, preset: unknown): Option {
  const flag = flagName(name);
  const description = IMAGE_SPEC_DESCRIPTIONS[name];
  if (kind instanceof z.ZodEnum) {
    const choices = kind.options.map(String);
    return new Option(
      `--${flag} <${flag.split('-').at(-1)}>`,
      preset === undefined ? description : `${description}; default ${preset}`,
    ).choices(choices);
  }
  if (kind instanceof z.ZodArray && kind.element instanceof z.ZodObject)
    return new Option(
      `--${flag} <json>`,
      `${description}; a JSON object, or an array of them; may be repeated`,
    ).argParser(jsonObjects);
  if (kind instanceof z.ZodObject)
    return new Option(`--${flag} <json>`, `${description}; a JSON object`).argParser(jsonObject);
  if (kind instanceof z.ZodArray)
    return new Option(`--${flag} <${PLACEHOLDERS.get(kind.element) ?? 'word'}...>`, description);
  return new Option(`--${flag} <${PLACEHOLDERS.get(kind) ?? (flag.includes('size') ? 'size' : 'text')}>`, description);
}

/** JSON, because a path may hold every character that could separate two of them. */
function jsonObjects(text: string, before: readonly unknown[] = []): unknown[] {
  const value = parseJson(text);
  const objects = Array.isArray(value) ? value : [value];
  if (objects.some((one) => typeof one !== 'object' || one === null))
    throw new InvalidArgumentError('must be a JSON object, or an array of them');
  return [...before, ...objects];
}

function jsonObject(text: string): unknown {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InvalidArgumentError('must be a JSON object');
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

const NAMES = (Object.keys(imageSpecSchema.shape) as Name[]).filter((name) => !WITHOUT_FLAG.has(name));

const FLAGS = NAMES.map((name) => [name, makeOptions(name)] as const);

export const SPECIFICATION_FLAGS: readonly Option[] = FLAGS.flatMap(([, options]) => options);

/** The flags that were given, by the names of the specification's options. */
export function specificationOf({ flags, isGiven }: Given): Record<string, unknown> {
  const specification: Record<string, unknown> = {};
  for (const [name, [option]] of FLAGS) {
    const flag = option?.attributeName();
    if (flag !== undefined && isGiven(flag)) specification[name] = parsedValue(name, flags[flag]);
  }
  return specification;
}

/** Digits are a number where the option takes none as text: MiB, seconds. */
function parsedValue(name: Name, value: unknown): unknown {
  if (typeof value !== 'string' || !/^\d+$/.test(value)) return value;
  return imageSpecSchema.shape[name].safeParse(value).success ? value : Number(value);
}
