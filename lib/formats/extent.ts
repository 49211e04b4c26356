/** Reads a part of a disk, a partition or a file. Returns fewer bytes at its end. */
export type ReadBytes = (offsetBytes: number, bytes: number) => Promise<Buffer>;

/** A part of a disk or of an image. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}
