import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSpecification } from '../../../cli/specification.ts';
import { InvalidOptionsError } from '../../../lib/run/errors.ts';
import { imageSpecJsonSchema, parseImageSpec } from '../../../lib/spec/image-spec.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ndi-spec-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function write(name: string, text: string): Promise<string> {
  const file = join(directory, name);
  await writeFile(file, text);
  return file;
}

test.each([
  ['image.json', '{ "$schema": "image.schema.json", "toplevel": "./result", "format": "qcow2" }'],
  ['image.yaml', '# a comment\ntoplevel: ./result\nformat: qcow2\n'],
  ['image.ts', 'const format: string = "qcow2";\nexport default { toplevel: "./result", format };\n'],
  ['image.mjs', 'export default async () => ({ toplevel: "./result", format: "qcow2" });\n'],
])('%s', async (name, text) => {
  const { options } = await readSpecification(await write(name, text));
  expect(options).toEqual({ toplevel: './result', format: 'qcow2' });
});

async function failure(work: () => Promise<unknown>): Promise<InvalidOptionsError> {
  const error: unknown = await work().catch((thrown: unknown) => thrown);
  if (error instanceof InvalidOptionsError) return error;
  throw new Error(`expected InvalidOptionsError, got ${error}`);
}

test('a YAML syntax error has its line and column', async () => {
  const file = await write('broken.yaml', 'toplevel: ./result\ncontents: [1,\nformat: }\n');
  const { issues } = await failure(() => readSpecification(file));
  expect(issues[0]?.path).toBe(`${file}:3:1`);
});

test('an invalid option is reported with its position, and a similar name is suggested', async () => {
  const file = await write(
    'wrong.yaml',
    'toplevel: ./result\npartionTableType: efi\ncontents:\n  - source: a\n    target: /b\n    usr: root\ndiskSize: -1\n',
  );
  const { options, locate } = await readSpecification(file);
  const { issues } = await failure(async () => parseImageSpec(options));
  const told = issues.map(locate).map(({ path, message }) => `${path} ${message}`);
  expect(told).toEqual(
    expect.arrayContaining([
      `${file}:2:19: partionTableType there is no such option; did you mean "partitionTableType"?`,
      `${file}:6:10: contents[0].usr there is no such option; did you mean "user"?`,
      expect.stringMatching(/wrong\.yaml:7:11: diskSize /),
    ]),
  );
});

test('a specification that is not an object is refused', async () => {
  await expect(readSpecification(await write('list.yaml', '- 1\n'))).rejects.toThrow(/not an object of options/);
  await expect(readSpecification(await write('bad.ts', 'export default 1 +;'))).rejects.toThrow(/cannot be loaded/);
  await expect(readSpecification(join(directory, 'nothing.json'))).rejects.toThrow(/specification: .* does not exist/);
});

test('the JSON Schema has every option, each with a description for editors', () => {
  const { properties, required, additionalProperties } = imageSpecJsonSchema() as {
    properties: Record<string, { description?: string; enum?: string[] }>;
    required: string[];
    additionalProperties: boolean;
  };
  expect(required).toEqual(['toplevel']);
  expect(additionalProperties).toBe(false);
  expect(properties.partitionTableType?.enum).toContain('hybrid');
  for (const [name, { description }] of Object.entries(properties))
    if (name !== '$schema') expect(description, name).toMatch(/\.$/);
});

test('an alias that refers to nothing is an error in the specification', async () => {
  const file = await write('alias.yaml', 'toplevel: *missing\n');
  const { message } = await failure(() => readSpecification(file));
  expect(message).toContain(`${file} cannot be read: Unresolved alias`);
});

test('what never ends is refused', async () => {
  const { message } = await failure(() => readSpecification('/dev/zero'));
  expect(message).toContain('/dev/zero is a character device, not a file');
});
