import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { run } from './run.ts';

/** The JSON Schema that the command line prints. */
export async function schemaOf(command: string): Promise<Record<string, unknown>> {
  return JSON.parse(await run([process.execPath, packageFile('dist/cli/main.js'), 'schema', '--of', command]));
}

/** Checks what a command printed with `--json` against its schema. @returns it, parsed. */
export async function expectJsonOf(command: string, printed: string): Promise<unknown> {
  const validate = new Ajv2020({ allErrors: true }).compile(await schemaOf(command));
  const value: unknown = JSON.parse(printed);
  validate(value);
  expect(validate.errors ?? []).toEqual([]);
  return value;
}

interface Node {
  readonly $ref?: string;
  readonly type?: string;
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
  readonly $defs?: Readonly<Record<string, Node>>;
}

/** Every field of a schema, a line each: `partitions[].label?: string`, with "?" where it may be missing. */
export function fieldsOf(schema: Node): string[] {
  const fields: string[] = [];
  const walk = (given: Node, path: string): void => {
    const node = given.$ref === undefined ? given : (schema.$defs?.[given.$ref.replace('#/$defs/', '')] ?? given);
    if (node.items !== undefined) walk(node.items, `${path}[]`);
    for (const [name, field] of Object.entries(node.properties ?? {})) {
      const at = path === '' ? name : `${path}.${name}`;
      const { type } = field.$ref === undefined ? field : { type: 'object' };
      fields.push(`${at}${node.required?.includes(name) === true ? '' : '?'}: ${type ?? 'any'}`);
      walk(field, at);
    }
  };
  walk(schema, '');
  return fields;
}
