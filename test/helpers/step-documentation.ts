import ts from 'typescript';
import { packageFile } from '../../harness/cache-directory.ts';
import { STEPS } from '../../lib/all-steps.ts';
import { imageSpecJsonSchema } from '../../lib/spec/image-spec.ts';

/** docs/steps.md, written from the types and docstrings of the steps. */

interface Group {
  readonly title: string;
  readonly needs: string;
  readonly steps: readonly string[];
}

const GROUPS: readonly Group[] = [
  {
    title: 'Staging a root',
    needs: 'These steps fill a directory on this host, and run as any user.',
    steps: ['measureClosure', 'stageContents', 'installSystem', 'listClosureFiles', 'resolveOwners'],
  },
  {
    title: 'Disks, partitions and filesystems',
    needs:
      'These steps work on image files, and run as any user. Their executor must see the files of this host: the default executor and containers do.',
    steps: [
      ...['computeDiskSize', 'createDisk', 'partitionDisk', 'writePartitions', 'makeFilesystem', 'makeBootFilesystem'],
      ...[
        'makeSwap',
        'packFilesystem',
        'copyToPartition',
        'fillBootFilesystem',
        'copyToFilesystem',
        'extractFilesystem',
        'copyBootCode',
        'tuneFilesystem',
      ],
      ...['writeEfiVariables', 'convertImage', 'shrinkImage'],
    ],
  },
  {
    title: 'Boot loaders without a VM',
    needs: 'These steps write the boot loader into an image file from the system’s boot.json, and run as any user.',
    steps: ['installSystemdBoot', 'installGrub'],
  },
  {
    title: 'Encryption',
    needs: 'This step encrypts a partition of an image file, and runs as any user.',
    steps: ['encryptPartition'],
  },
  {
    title: 'Secure Boot',
    needs: 'These steps sign programs and prepare keys, and run as any user.',
    steps: [
      'generateSecureBootKeys',
      'makeUki',
      'signEfiProgram',
      'signBootFiles',
      'prepareKeyEnrollment',
      'enrollSecureBootKeys',
    ],
  },
  {
    title: 'Inside a mounted root',
    needs:
      'These steps need root and a mounted filesystem: the builder VM of `nixos-disk-image/harness`, or this host as root. Their paths are those that the executor sees.',
    steps: [
      ...['linkBootDevices', 'mountRoot', 'mountBootFilesystem', 'writeConfigFile', 'nixosEnter'],
      ...['switchToConfiguration', 'chownContents', 'removeMachineId', 'removeRandomSeed', 'unmountRoot'],
    ],
  },
  {
    title: 'Looking at images',
    needs: 'These steps only read, and run as any user.',
    steps: ['inspectImage', 'diffImages'],
  },
  {
    title: 'A whole build',
    needs: 'These functions take an [image specification](#the-image-specification) and call the steps above.',
    steps: ['planBuild', 'buildImage'],
  },
];

const INTRODUCTION = `# Steps

Every step is a function: \`await step(options, context)\`. The options are checked before anything is touched, and every problem with
them is reported at once. The result contains what was read back from disk. \`context\` is optional:

- \`executor\`: where the programs run. The default is this host; the builder VM and containers come from \`nixos-disk-image/harness\`.
- \`signal\`: an AbortSignal. Aborting stops the step and kills the programs that it runs.
- \`onEvent\`: called with \`start\`, \`command\`, \`output\`, \`note\`, and \`finish\` or \`fail\`.

[Composing steps](composing.md) shows whole scripts. Sizes are strings such as "512M", or numbers of bytes.
`;

const TYPE_FORMAT = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.UseSingleQuotesForStringLiteralType;

/** The text of docs/steps.md.
 *  @throws when a step is in no group, or in two. */
export function stepDocumentation(): string {
  const grouped = GROUPS.flatMap(({ steps }) => steps);
  const exported = [...STEPS.map(({ name }) => name), 'planBuild', 'buildImage'];
  if (grouped.toSorted().join() !== exported.toSorted().join())
    throw new Error(`groups: ${grouped.toSorted().join()}\nsteps: ${exported.toSorted().join()}`);
  const reader = new DeclarationReader(packageFile('lib/index.ts'));
  const sections = GROUPS.map(({ title, needs, steps }) =>
    [`## ${title}`, needs, ...steps.map((name) => describeStep(reader, name))].join('\n\n'),
  );
  return `${[INTRODUCTION, ...sections, describeSpecification()].join('\n\n')}\n`.replaceAll(/\n{3,}/g, '\n\n');
}

/** The properties of the JSON Schema, which editors complete. */
function describeSpecification(): string {
  const lines = Object.entries(specificationFields()).map(([name, field]) => {
    const values = field.enum?.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
    const standard = field.default === undefined ? '' : ` Default \`${JSON.stringify(field.default)}\`.`;
    return `- \`${name}\`: ${field.description}${values === undefined ? '' : ` One of ${values}.`}${standard}`;
  });
  return ['### The image specification', 'Names and meaning are those of make-disk-image.', lines.join('\n')].join(
    '\n\n',
  );
}

interface SpecificationField {
  readonly description: string;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
}

function specificationFields(): Record<string, SpecificationField> {
  const { $schema, ...fields } = imageSpecJsonSchema().properties as Record<string, SpecificationField>;
  return fields;
}

function describeStep(reader: DeclarationReader, name: string): string {
  const step = reader.functionNamed(name);
  const runs = STEPS.find((one) => one.name === name)?.runs;
  const isWhole = runs === undefined;
  const specification = specificationFields();
  const own = step.options.filter((field) => !isWhole || !(field.name in specification));
  const options = own.map((field) => `- ${describeField(field, field.optional ? '' : ' Required.')}`);
  return [
    `### \`${name}\``,
    step.summary,
    [...options, ...(isWhole ? ['- Every option of [the image specification](#the-image-specification).'] : [])].join(
      '\n',
    ),
    describeResult(step.result),
    ...step.throws.map((text) => `Throws ${text.replace(/^\{(\w+)\}/, '`$1`').replaceAll(/\{(\w+)\}/g, '`$1`')}`),
    ...(isWhole ? [] : [`Runs ${runs.length === 0 ? 'no programs' : runs.map((one) => `\`${one}\``).join(', ')}.`]),
  ]
    .filter((paragraph) => paragraph !== '')
    .join('\n\n');
}

function describeField({ name, type, text }: Field, remark = ''): string {
  return `\`${name}\` (\`${type}\`)${text === '' ? '' : `: ${sentence(text)}`}${remark}`;
}

function describeResult({ type, fields }: Result): string {
  if (type === 'void') return '';
  const lines = fields.map((field) => `- ${describeField(field)}`);
  return [`Returns \`${type}\`:`, ...(lines.length === 0 ? [] : ['', ...lines])].join('\n').replace(/:$/, '.');
}

function sentence(text: string): string {
  const line = text.replaceAll(/\s*\n\s*/g, ' ').trim();
  return /[.!?]$/.test(line) ? line : `${line}.`;
}

interface Field {
  readonly name: string;
  readonly optional: boolean;
  readonly type: string;
  readonly text: string;
}

interface Result {
  readonly type: string;
  readonly fields: readonly Field[];
}

interface FunctionDeclaration {
  readonly summary: string;
  readonly throws: readonly string[];
  readonly options: readonly Field[];
  readonly result: Result;
}

/** What the compiler knows of the exports of a module. */
class DeclarationReader {
  readonly #checker: ts.TypeChecker;
  readonly #source: ts.SourceFile;
  readonly #exports: ReadonlyMap<string, ts.Symbol>;

  constructor(file: string) {
    const host = { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} };
    const config = ts.getParsedCommandLineOfConfigFile(packageFile('tsconfig.json'), {}, host);
    const program = ts.createProgram([file], { ...config?.options, noEmit: true });
    this.#checker = program.getTypeChecker();
    const source = program.getSourceFile(file);
    const module = source && this.#checker.getSymbolAtLocation(source);
    if (source === undefined || module === undefined) throw new Error(`${file} is not a module`);
    this.#source = source;
    this.#exports = new Map(this.#checker.getExportsOfModule(module).map((symbol) => [symbol.name, symbol]));
  }

  /** @throws when the module exports no function of that name. */
  functionNamed(name: string): FunctionDeclaration {
    const checker = this.#checker;
    const exported = this.#exports.get(name);
    if (exported === undefined) throw new Error(`${name} is not exported`);
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    const [signature] = checker.getTypeOfSymbolAtLocation(symbol, this.#source).getCallSignatures();
    const [options] = signature?.parameters ?? [];
    const result = signature && checker.getAwaitedType(signature.getReturnType());
    if (options === undefined || result === undefined) throw new Error(`${name} is not a step`);
    const tags = symbol.getJsDocTags(checker).map((tag) => ({
      name: tag.name,
      text: ts.displayPartsToString(tag.text).replace(/\s*Runs:[\s\S]*$/, ''),
    }));
    return {
      summary: ts
        .displayPartsToString(symbol.getDocumentationComment(checker))
        .replace(/\s*(?:Runs:[\s\S]*)$/, '')
        .trim(),
      throws: tags.filter((tag) => tag.name === 'throws').map((tag) => sentence(tag.text)),
      options: this.#fieldsOf(this.#withNewNames(name, checker.getNonNullableType(checker.getTypeOfSymbol(options)))),
      result: { type: this.#nameOf(result), fields: this.#isOurs(result) ? this.#fieldsOf(result) : [] },
    };
  }

  /** Where options were renamed, the type is a union over the old and the new names. */
  #withNewNames(name: string, type: ts.Type): ts.Type {
    const names = STEPS.find((step) => step.name === name)?.optionNames ?? [];
    const isNew = (one: ts.Type): boolean => names.every((option) => one.getProperty(option) !== undefined);
    return type.isUnion() ? (type.types.find(isNew) ?? type) : type;
  }

  #fieldsOf(type: ts.Type): Field[] {
    const checker = this.#checker;
    return checker.getPropertiesOfType(type).map((property) => ({
      name: property.name,
      optional: (property.flags & ts.SymbolFlags.Optional) !== 0,
      type: this.#nameOf(checker.getTypeOfSymbol(property)),
      text: ts.displayPartsToString(property.getDocumentationComment(checker)),
    }));
  }

  #nameOf(type: ts.Type): string {
    const given = this.#checker.getNonNullableType(type);
    const known = given.isTypeParameter() ? (this.#checker.getBaseConstraintOfType(given) ?? given) : given;
    return this.#checker.typeToString(known, undefined, TYPE_FORMAT).replaceAll(/readonly | \| undefined/g, '');
  }

  /** Of an object type of this project, whose fields are worth a list. */
  #isOurs(type: ts.Type): boolean {
    const declared = (type.aliasSymbol ?? type.symbol)?.declarations?.[0]?.getSourceFile().fileName;
    return declared?.startsWith(packageFile('lib')) === true;
  }
}
