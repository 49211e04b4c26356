import { z } from 'zod';
import { resultJsonSchema, resultSchema } from '../run/result-schema.ts';
import type { Difference } from './difference.ts';

const differenceSchema = resultSchema<Difference>()(
  z.object({
    where: z
      .string()
      .describe('The container, the partition table, the space outside of partitions, a partition or a filesystem.'),
    what: z.string().describe('A path in a filesystem, or a part of it such as "superblock".'),
    field: z.string().optional().describe('What differs, such as "mode"; missing where all of it does.'),
    a: z.string().optional().describe('The value in the first image; missing where it has none.'),
    b: z.string().optional().describe('The value in the second image; missing where it has none.'),
  }),
);

/** Of what `diff --json` prints. */
export function differencesJsonSchema(): Record<string, unknown> {
  return resultJsonSchema('differences of two disk images', z.array(differenceSchema));
}
