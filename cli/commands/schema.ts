import { EXIT } from '../exit-codes.ts';
import type { Declaration } from './declare.ts';

export const schema: Declaration = {
  name: 'schema',
  description: 'Print the JSON Schema of an image specification, for an editor to complete and check it.',
  options: [],
  examples: `
Example:
  nixos-disk-image schema > image.schema.json      then, in image.yaml:  # yaml-language-server: $schema=image.schema.json`,
  exitStatus: '0',
  async run() {
    const { imageSpecJsonSchema } = await import('../../lib/spec/image-spec.ts');
    process.stdout.write(`${JSON.stringify(imageSpecJsonSchema(), undefined, 2)}\n`);
    return EXIT.good;
  },
};
