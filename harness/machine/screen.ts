import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { findTool } from '../../lib/run/tools.ts';

/** What a machine's screen shows. */
export interface Screen {
  /** A PNG picture. */
  readonly png: Buffer;
  readonly width: number;
  readonly height: number;
  /** In a text mode of the VGA: its lines, which need no reading from a picture, and those that were scrolled away. */
  readonly lines: readonly string[] | undefined;
}

type Qmp = (command: string, args?: Readonly<Record<string, unknown>>) => Promise<unknown>;

const TEXT_MEMORY = 0xb8000;
const TEXT_MEMORY_BYTES = 32 * 1024;
const COLUMNS = 80;

/** Takes a picture of the screen, and in a text mode its characters from the VGA's memory.
 *  @param directory for QEMU to put files in. @see QMP screendump, pmemsave */
export async function readScreen(qmp: Qmp, directory: string): Promise<Screen> {
  const picture = join(directory, 'screen.png');
  await qmp('screendump', { filename: picture, format: 'png' });
  const png = await readFile(picture);
  await rm(picture);
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  // 80 characters of 9 or 8 pixels, 25 lines of 16.
  const isText = (width === 720 || width === 640) && height === 400;
  return { png, width, height, lines: isText ? await readText(qmp, directory) : undefined };
}

/** All that the VGA's memory holds: a driver scrolls by moving where the screen begins in it, so what was scrolled away is there
 *  too, in order. */
async function readText(qmp: Qmp, directory: string): Promise<string[]> {
  const dump = join(directory, 'screen.bin');
  await qmp('pmemsave', { val: TEXT_MEMORY, size: TEXT_MEMORY_BYTES, filename: dump });
  const memory = await readFile(dump);
  await rm(dump);
  return Array.from({ length: Math.floor(TEXT_MEMORY_BYTES / 2 / COLUMNS) }, (_, row) =>
    Array.from({ length: COLUMNS }, (__, column) => {
      const code = memory[(row * COLUMNS + column) * 2] ?? 0;
      return code < 0x20 || code > 0x7e ? ' ' : String.fromCharCode(code);
    })
      .join('')
      .trimEnd(),
  ).filter((line) => line !== '');
}

/** What a screen shows, as lines, and whether the last of them is a login prompt. */
export async function screenText(screen: Screen): Promise<{ readonly lines: string[]; readonly showsPrompt: boolean }> {
  if (screen.lines !== undefined)
    return { lines: [...screen.lines], showsPrompt: screen.lines.some((line) => /\blogin: ?$/.test(line)) };
  const lines = await readPicture(screen.png);
  return { lines, showsPrompt: endsWithPrompt(lines) };
}

/** Whether what was read from a picture ends with a login prompt. It is read with mistakes, and half of the time the cursor stands
 *  behind the prompt: an underscore, or a block that is read as any character. */
export function endsWithPrompt(lines: readonly string[]): boolean {
  return /\blogin\b.{0,4}$/.test(lines.join('\n').trimEnd());
}

/** The lines of a picture, where tesseract(1) is there to read them; else none. */
async function readPicture(png: Buffer): Promise<string[]> {
  if ((await findTool('tesseract')) === undefined) return [];
  // With several threads it takes four times as long where the processors are busy. @see tesseract's manual page, OMP_THREAD_LIMIT
  const env = { OMP_THREAD_LIMIT: '1' };
  const { stdout } = await localExecutor.run(['tesseract', '-', '-', '--psm', '6'], { input: png, env });
  return stdout.toString('utf8').split('\n');
}
