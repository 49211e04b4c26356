import { Option } from 'commander';
import { EXIT } from '../exit-codes.ts';
import type { Declaration } from './declare.ts';

/** By the command whose file or output each describes. Each is loaded when it is asked for. */
const SCHEMAS: Readonly<Record<string, () => Promise<Record<string, unknown>>>> = {
  build: async () => (await import('../../lib/spec/image-spec.ts')).imageSpecJsonSchema(),
  inspect: async () => (await import('../../lib/inspect/inspection-schema.ts')).inspectionJsonSchema(),
  diff: async () => (await import('../../lib/diff/difference-schema.ts')).differencesJsonSchema(),
  verify: async () => (await import('../../harness/verify/boot-report-schema.ts')).bootReportsJsonSchema(),
};

export const schema: Declaration = {
  name: 'schema',
  description:
    'Print a JSON Schema: of an image specification, for an editor to complete and check it, or of what a command prints with --json.',
  options: [
    new Option(
      '--of <command>',
      'build: the specification that it takes; inspect, diff, verify: what they print with --json',
    )
      .choices(Object.keys(SCHEMAS))
      .default('build'),
  ],
  examples: `
Examples:
  nixos-disk-image schema > image.schema.json      then, in image.yaml:  # yaml-language-server: $schema=image.schema.json
  nixos-disk-image schema --of verify > reports.schema.json`,
  exitStatus: '0, 2 usage',
  async run({ flags }) {
    process.stdout.write(`${JSON.stringify(await SCHEMAS[flags.of]?.(), undefined, 2)}\n`);
    return EXIT.good;
  },
};
