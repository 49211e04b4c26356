/** One thing in which two images are not the same. */
export interface Difference {
  /** The container, the partition table, the space outside of partitions, or a partition: `"partition 1 (vfat ESP)"`. */
  readonly where: string;
  /** A path in a filesystem, or a part of it: `"/etc/NIXOS"`, `"superblock"`, `"partition 2"`. */
  readonly what: string;
  /** The field: `"mode"`, `"content"`; undefined when `what` is all. */
  readonly field?: string | undefined;
  /** As each image has it; undefined where it has none. */
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

/** More paths that differ in the same field say no more than that there are. */
const MOST_OF_A_FIELD = 5000;

/** The differences of one place: so many of each field, that those of times, in which every path may differ, do not hide the
 *  others. */
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

  /** With a last one for each field that has more. */
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

/** A difference's field, to tell kinds apart: positions are told one by one, and are one kind. */
export function fieldName({ field = '' }: Pick<Difference, 'field'>): string {
  return /^(?:block|sector)s? /.test(field) ? 'bytes' : field;
}

/** What was left out, so that nobody takes it for the same. */
export function notCompared(where: string, what: string): Difference {
  return { where, what, field: 'not looked at further', a: 'not compared', b: 'not compared' };
}
