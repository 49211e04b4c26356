import { crc32 } from 'node:zlib';

/** A PNG that carries in words what it shows, in a tEXt chunk. @see PNG specification, 11.3.3.2 tEXt */

const KEYWORD = 'Description\0';
/** The signature, and the IHDR chunk, which comes first. */
const HEAD_BYTES = 8 + 25;

export function describePng(png: Buffer, description: string): Buffer {
  const body = Buffer.from(`tEXt${KEYWORD}${description}`, 'latin1');
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(body.length - 4, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), chunk.length - 4);
  return Buffer.concat([png.subarray(0, HEAD_BYTES), chunk, png.subarray(HEAD_BYTES)]);
}

export function descriptionOf(png: Buffer): string | undefined {
  const at = png.indexOf(`tEXt${KEYWORD}`, 0, 'latin1');
  if (at < 0) return undefined;
  const from = at + 4 + KEYWORD.length;
  return png.toString('latin1', from, at + 4 + png.readUInt32BE(at - 4));
}
