/** One difference between two images. */
export interface Difference {
  /** The container, the partition table, the space outside partitions, or a partition: `"partition 1 (vfat ESP)"`. */
  readonly where: string;
  /** A path in a filesystem, or a part of it: `"/etc/NIXOS"`, `"superblock"`, `"partition 2"`. */
  readonly what: string;
  /** The field: `"mode"`, `"content"`; undefined when the difference is `what` as a whole. */
  readonly field?: string | undefined;
  /** The value in each image; undefined if the image has none. */
  readonly a: string | undefined;
  readonly b: string | undefined;
}

/** Compares two records field by field. */
export function compareFields(
  where: string,
  what: string,
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): Difference[] {
  const fields = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return fields.flatMap((field) => (a[field] === b[field] ? [] : [{ where, what, field, a: a[field], b: b[field] }]));
}

/** The limit of differences in one field; the others are only counted. */
const MOST_OF_A_FIELD = 5000;

/** Collects the differences of one partition or area. Each field has a separate limit, so that times, which may differ
 *  for every path, do not hide other differences. */
export class Differences {
  readonly #where: string;
  readonly #found: Difference[] = [];
  readonly #counts = new Map<string, number>();

  constructor(where: string) {
    this.#where = where;
  }

  get length(): number {
    return this.#found.length;
  }

  add(...differences: readonly Difference[]): void {
    for (const difference of differences) {
      const field = fieldName(difference);
      const count = (this.#counts.get(field) ?? 0) + 1;
      this.#counts.set(field, count);
      if (count <= MOST_OF_A_FIELD) this.#found.push(difference);
    }
  }

  /** All differences, with a count for each field that exceeds the limit. */
  get all(): Difference[] {
    const more = [...this.#counts].filter(([, count]) => count > MOST_OF_A_FIELD);
    return [
      ...this.#found,
      ...more.map(([field, count]) =>
        notCompared(this.#where, `${count - MOST_OF_A_FIELD} more that differ${field === '' ? '' : ` in: ${field}`}`),
      ),
    ];
  }
}

/** The kind of a difference: its field, or "bytes" for positions. */
export function fieldName({ field = '' }: Pick<Difference, 'field'>): string {
  return /^(?:block|sector)s? /.test(field) ? 'bytes' : field;
}

/** Makes a difference that reports a skipped part, because it may differ. */
export function notCompared(where: string, what: string): Difference {
  return { where, what, field: 'not looked at further', a: 'not compared', b: 'not compared' };
}
