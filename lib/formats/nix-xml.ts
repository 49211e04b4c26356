import { XMLParser } from 'fast-xml-parser';

/** A value as `builtins.toXML` writes it. Functions and derivations are omitted. */
export type NixValue = string | number | boolean | null | readonly NixValue[] | { readonly [name: string]: NixValue };

/** An element as the parser returns it: a key with its name and children, and the key ":@" with its attributes. */
type Node = Readonly<Record<string, unknown>>;

/** Parses the output of `builtins.toXML`. @returns undefined for anything else. @see Nix manual, builtins.toXML */
export function parseNixXml(text: string): NixValue | undefined {
  const parser = new XMLParser({
    ...{ preserveOrder: true, ignoreAttributes: false, attributeNamePrefix: '' },
    // Whitespace is part of a value, and a string that looks like a number stays a string.
    ...{ trimValues: false, parseAttributeValue: false, htmlEntities: true },
  });
  const [expression] = elements(parser.parse(text)).filter(({ name }) => name === 'expr');
  const [value] = expression?.inside ?? [];
  return value === undefined ? undefined : valueOfElement(value);
}

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly inside: readonly Element[];
}

function elements(nodes: unknown): Element[] {
  if (!Array.isArray(nodes)) return [];
  return (nodes as Node[]).flatMap((node) =>
    Object.keys(node)
      .filter((name) => name !== ':@' && name !== '#text')
      .map((name) => ({
        name,
        attributes: (node[':@'] ?? {}) as Record<string, string>,
        inside: elements(node[name]),
      })),
  );
}

function valueOfElement({ name, attributes, inside }: Element): NixValue | undefined {
  const { value = '' } = attributes;
  switch (name) {
    case 'string':
    case 'path':
      return value;
    case 'int':
    case 'float':
      return Number(value);
    case 'bool':
      return value === 'true';
    case 'null':
      return null;
    case 'list':
      return inside.map(valueOfElement).filter((item) => item !== undefined);
    case 'attrs':
      return Object.fromEntries(
        inside.flatMap(({ attributes: { name: key = '' }, inside: [content] }) => {
          const item = content === undefined ? undefined : valueOfElement(content);
          return item === undefined ? [] : [[key, item]];
        }),
      );
    default:
      return undefined;
  }
}
