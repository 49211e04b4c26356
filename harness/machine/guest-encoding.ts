/** An encoding for answers from a guest: only printable characters are safe on a console. */
export interface Encoder {
  readonly program: string;
  /** The command that encodes its standard input. */
  readonly command: string;
  readonly decode: (text: string) => Buffer;
  /** Matches an encoded line. */
  readonly line: RegExp;
}

const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');
const fromHex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex');
const BASE64_LINE = /^[A-Za-z0-9+/]{1,76}={0,2}$/;
const HEX_LINE = /^[0-9a-f ]{1,120}$/;

/** In order of preference; every POSIX system has od. */
export const ENCODERS: readonly Encoder[] = [
  { program: 'base64', command: 'base64', decode: fromBase64, line: BASE64_LINE },
  { program: 'openssl', command: 'openssl base64', decode: fromBase64, line: BASE64_LINE },
  { program: 'od', command: 'od -An -v -tx1', decode: fromHex, line: HEX_LINE },
  { program: 'xxd', command: 'xxd -p', decode: fromHex, line: HEX_LINE },
  { program: 'hexdump', command: 'hexdump -v -e "16/1 \\"%02x\\" \\"\\n\\""', decode: fromHex, line: HEX_LINE },
];

/** Decodes lines, and skips those that other programs printed in between. If another program wrote into a line, the length or the
 *  checksum does not match. */
export function decodeAnswer({ decode, line }: Encoder, lines: readonly string[]): Buffer {
  return decode(lines.filter((one) => line.test(one.trim())).join(''));
}

/** Encodes bytes as formats for printf(1) in single quotes, each at most `characters` long. printf is built into every shell and
 *  has octal escapes for any byte. */
export function printfLiteral(bytes: Uint8Array, characters: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const byte of bytes) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c && byte !== 0x25;
    const octal = `\\${byte.toString(8).padStart(3, '0')}`;
    const piece = isPlain ? String.fromCharCode(byte) : octal;
    if (line.length + piece.length > characters) {
      lines.push(line);
      line = '';
    }
    // A format that begins with a dash would be an option.
    line += line === '' && piece === '-' ? octal : piece;
  }
  lines.push(line);
  return lines;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24;
  for (let bit = 0; bit < 8; bit += 1) value = value & 0x8000_0000 ? (value << 1) ^ 0x04c1_1db7 : value << 1;
  return value >>> 0;
});

/** Computes the checksum that cksum(1) prints. @see POSIX.1-2017, cksum, "the CRC" */
export function posixCksum(bytes: Uint8Array): number {
  let crc = 0;
  const add = (byte: number): void => {
    crc = ((crc << 8) ^ (TABLE[((crc >>> 24) ^ byte) & 0xff] ?? 0)) >>> 0;
  };
  for (const byte of bytes) add(byte);
  for (let length = bytes.length; length > 0; length = Math.floor(length / 256)) add(length & 0xff);
  return ~crc >>> 0;
}
