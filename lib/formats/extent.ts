/** Reads a part of a disk, a partition or a file, counted from its start; short at its end. */
export type ReadBytes = (offsetBytes: number, bytes: number) => Promise<Buffer>;

/** A part of a disk or of an image. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}
