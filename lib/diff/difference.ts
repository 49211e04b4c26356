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
