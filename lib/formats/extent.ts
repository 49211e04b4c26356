/** A part of a disk or of an image. */
export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}
