import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { findTool } from '../../lib/run/tools.ts';

/** A screenshot of a machine. */
export interface Screen {
  /** A PNG image. */
  readonly png: Buffer;
  readonly width: number;
  readonly height: number;
  /** In a VGA text mode, the lines in video memory, including those that were scrolled away. */
  readonly lines: readonly string[] | undefined;
}

type Qmp = (command: string, args?: Readonly<Record<string, unknown>>) => Promise<unknown>;

const TEXT_MEMORY = 0xb8000;
const TEXT_MEMORY_BYTES = 32 * 1024;
const COLUMNS = 80;

/** Takes a screenshot, and in a text mode reads the characters from VGA memory.
 *  @param directory where QEMU writes temporary files. @see QMP screendump, pmemsave */
export async function readScreen(qmp: Qmp, directory: string): Promise<Screen> {
  const picture = join(directory, 'screen.png');
  await qmp('screendump', { filename: picture, format: 'png' });
  const png = await readFile(picture);
  await rm(picture);
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  // 80 characters of 9 or 8 pixels, 25 lines of 16 pixels.
  const isText = (width === 720 || width === 640) && height === 400;
  return { png, width, height, lines: isText ? await readText(qmp, directory) : undefined };
}

/** Reads all text in VGA memory: a driver scrolls by moving the start of the screen, so lines that were scrolled away are still
 *  there, in order. */
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

/** Returns the lines on a screen, and whether they show a login prompt. */
export async function screenText(screen: Screen): Promise<{ readonly lines: string[]; readonly showsPrompt: boolean }> {
  if (screen.lines !== undefined) return { lines: [...screen.lines], showsPrompt: screen.lines.some(isPrompt) };
  const lines = await readPicture(screen.png);
  return { lines, showsPrompt: endsWithPrompt(lines) };
}

/** Returns whether a line in video memory is a login prompt, into which the kernel may have printed. */
export function isPrompt(line: string): boolean {
  return /\blogin: ?(?:\[ *\d+\.\d+\] .*)?$/.test(line);
}

/** Returns whether text from character recognition ends with a login prompt. It has mistakes, and a blinking cursor after the
 *  prompt may be recognized as any character. */
export function endsWithPrompt(lines: readonly string[]): boolean {
  // The kernel may have printed after the prompt, on the same line and on further ones.
  return /\blogin\b.{0,4}(?:\[ *\d+[.,]\d+\][\s\S]*)?$/.test(lines.join('\n').trimEnd());
}

/** Recognizes the lines in a picture with tesseract(1); returns none if it is not installed. */
async function readPicture(png: Buffer): Promise<string[]> {
  if ((await findTool('tesseract')) === undefined) return [];
  // With several threads it takes four times as long on a busy host. @see tesseract(1), OMP_THREAD_LIMIT
  const env = { OMP_THREAD_LIMIT: '1' };
  const { stdout } = await localExecutor.run(['tesseract', '-', '-', '--psm', '6'], { input: png, env });
  return stdout.toString('utf8').split('\n');
}
