import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** What a machine's screen shows. */
export interface Screen {
  /** A PNG picture. */
  readonly png: Buffer;
  readonly width: number;
  readonly height: number;
  /** In a text mode of the VGA: its lines, which need no reading from a picture. */
  readonly lines: readonly string[] | undefined;
}

type Qmp = (command: string, args?: Readonly<Record<string, unknown>>) => Promise<unknown>;

const TEXT_MEMORY = 0xb8000;
const COLUMNS = 80;
const ROWS = 25;

/** Takes a picture of the screen, and in a text mode its characters from the VGA's memory.
 *  @param folder for QEMU to put files in. @see QMP screendump, pmemsave */
export async function readScreen(qmp: Qmp, folder: string): Promise<Screen> {
  const picture = join(folder, 'screen.png');
  await qmp('screendump', { filename: picture, format: 'png' });
  const png = await readFile(picture);
  await rm(picture);
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  // 80 characters of 9 or 8 pixels, 25 lines of 16.
  const isText = (width === 720 || width === 640) && height === 400;
  return { png, width, height, lines: isText ? await readText(qmp, folder) : undefined };
}

async function readText(qmp: Qmp, folder: string): Promise<string[]> {
  const dump = join(folder, 'screen.bin');
  await qmp('pmemsave', { val: TEXT_MEMORY, size: COLUMNS * ROWS * 2, filename: dump });
  const memory = await readFile(dump);
  await rm(dump);
  return Array.from({ length: ROWS }, (_, row) =>
    Array.from({ length: COLUMNS }, (_, column) => {
      const code = memory[(row * COLUMNS + column) * 2] ?? 0;
      return code < 0x20 || code > 0x7e ? ' ' : String.fromCharCode(code);
    })
      .join('')
      .trimEnd(),
  );
}
