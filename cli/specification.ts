import { readFile } from 'node:fs/promises';
import { extname, resolve } from 'node:path';
import { createJiti } from 'jiti';
import { isNode, LineCounter, parseDocument } from 'yaml';
import { requireFile } from '../lib/host-files/given-paths.ts';
import { InvalidOptionsError, type OptionIssue } from '../lib/run/errors.ts';
import { MODULE_EXTENSIONS } from './specification-extensions.ts';

/** An image specification as it was written down. */
export interface Specification {
  readonly options: Record<string, unknown>;
  /** The same issue with the place it has in the file: `image.yaml:12:5`. */
  locate(issue: OptionIssue): OptionIssue;
}

/** Reads a specification: JSON, YAML, or a module of TypeScript or JavaScript whose default export it is (or a function that
 *  returns it). A `$schema` is for editors.
 *  @throws {InvalidOptionsError} with line and column. */
export async function readSpecification(file: string): Promise<Specification> {
  if (MODULE_EXTENSIONS.includes(extname(file))) return { options: await loadModule(file), locate: (issue) => issue };
  // Reading a pipe could wait for ever.
  if (file !== '/dev/stdin') await requireFile('build', file, 'specification');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw wrong(`the specification ${file} cannot be read`, cause);
  });
  const lines = new LineCounter();
  // JSON is YAML; both are shown where they are wrong.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0)
    throw new InvalidOptionsError(
      'build',
      document.errors.map(({ pos, message }) => ({ path: place(pos[0]), message: message.trim() })),
    );
  const options = asOptions(contentOf(document, file), file);
  return {
    options,
    locate({ path, message }) {
      const node = document.getIn(pathOf(path), true);
      const offset = isNode(node) ? node.range?.[0] : undefined;
      return offset === undefined ? { path, message } : { path: `${place(offset)}: ${path}`, message };
    },
  };
}

/** The value of a document, in which aliases refer to anchors. */
function contentOf(document: ReturnType<typeof parseDocument>, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw wrong(`the specification ${file} cannot be read: ${cause instanceof Error ? cause.message : cause}`, cause);
  }
}

async function loadModule(file: string): Promise<Record<string, unknown>> {
  const loaded: unknown = await createJiti(import.meta.url)
    .import(resolve(file), { default: true })
    .catch((cause: unknown) => {
      throw wrong(
        `the specification ${file} cannot be loaded: ${cause instanceof Error ? cause.message : cause}`,
        cause,
      );
    });
  return asOptions(typeof loaded === 'function' ? await loaded() : loaded, file);
}

function asOptions(value: unknown, file: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(`the specification ${file} is not an object of options`);
  const { $schema: _, ...options } = value as Record<string, unknown>;
  return options;
}

/** `contents[2].user` as its parts. */
function pathOf(path: string): (string | number)[] {
  return [...path.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, name = '']) =>
    index === undefined ? name : Number(index),
  );
}

function wrong(message: string, cause?: unknown): InvalidOptionsError {
  return new InvalidOptionsError('build', [{ path: '', message }], { cause });
}
