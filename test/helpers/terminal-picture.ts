import xterm from '@xterm/headless';
import { spawn } from 'node-pty';

/** A terminal on which commands were run, as an SVG. */

const COLUMNS = 100;
const CELL = { width: 8.4, height: 18 };
const PADDING = 16;
const FONT = "ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const BACKGROUND = '#1b1f27';
const FOREGROUND = '#d7dae0';
/** The eight colors of a terminal, and their bright variants. */
const COLORS = [
  ...['#4b5263', '#e06c75', '#98c379', '#e5c07b', '#61afef', '#c678dd', '#56b6c2', '#d7dae0'],
  ...['#7f848e', '#ef7b85', '#a9d389', '#f0cc88', '#72bfff', '#d689ed', '#67c7d3', '#ffffff'],
];

export interface Recording {
  readonly columns: number;
  readonly exitCode: number;
  /** Everything that the command wrote to the terminal. */
  readonly output: string;
}

/** Runs a command at a terminal. */
export async function record(
  argv: readonly string[],
  options: { readonly env?: Readonly<Record<string, string | undefined>>; readonly cwd?: string } = {},
): Promise<Recording> {
  const [program = '', ...args] = argv;
  const size = { cols: COLUMNS, rows: 50 };
  const { CI: _ci, NO_COLOR: _noColor, FORCE_COLOR: _forceColor, ...inherited } = process.env;
  const env = { ...inherited, ...options.env, TERM: 'xterm-256color' };
  const pty = spawn(program, args, { ...options, ...size, env });
  let output = '';
  pty.onData((data) => {
    output += data;
  });
  const { exitCode } = await new Promise<{ exitCode: number }>((resolve) => pty.onExit(resolve));
  return { columns: COLUMNS, exitCode, output };
}

/** What is on the terminal at the end of several recordings, each under the command that was typed. */
export async function drawTerminal(
  parts: readonly (readonly [typed: string, recording: Recording])[],
): Promise<string> {
  const terminal = new xterm.Terminal({ cols: COLUMNS, rows: 200, allowProposedApi: true });
  const text = parts.map(([typed, { output }]) => `\x1b[1;32m$\x1b[0m ${typed}\r\n${output}\r\n`).join('');
  await new Promise<void>((resolve) => terminal.write(text, resolve));
  const buffer = terminal.buffer.active;
  const lines = Array.from({ length: buffer.length }, (_, row) => drawLine(buffer, row));
  const last = lines.findLastIndex((line) => line !== '');
  const shown = lines.slice(0, last + 1);
  const width = Math.round(COLUMNS * CELL.width + 2 * PADDING);
  const height = shown.length * CELL.height + 2 * PADDING;
  const rows = shown.flatMap((line, row) =>
    line === '' ? [] : [`<text y="${PADDING + (row + 0.75) * CELL.height}">${line}</text>`],
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${FONT}" font-size="14" fill="${FOREGROUND}">`,
    `<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>`,
    ...rows,
    '</svg>\n',
  ].join('\n');
}

type Buffer = InstanceType<typeof xterm.Terminal>['buffer']['active'];

/** A word of one style becomes one `tspan`, at its own place: fonts differ in the width of their characters. */
function drawLine(buffer: Buffer, row: number): string {
  const line = buffer.getLine(row);
  const words: { style: string; text: string; column: number }[] = [];
  let isApart = true;
  for (let column = 0; column < (line?.length ?? 0); column++) {
    const cell = line?.getCell(column);
    if (cell === undefined || cell.getWidth() === 0) continue;
    const text = cell.getChars();
    const word = words.at(-1);
    if (text === '' || text === ' ') isApart = true;
    else if (!isApart && word?.style === styleOf(cell)) word.text += text;
    else {
      words.push({ style: styleOf(cell), text, column });
      isApart = false;
    }
  }
  return words.map(drawWord).join('');
}

function styleOf(cell: NonNullable<ReturnType<NonNullable<ReturnType<Buffer['getLine']>>['getCell']>>): string {
  const color = cell.isFgPalette() ? COLORS[cell.getFgColor()] : undefined;
  return [
    ...(color === undefined ? [] : [` fill="${color}"`]),
    ...(cell.isBold() ? [' font-weight="bold"'] : []),
    ...(cell.isDim() ? [' opacity="0.7"'] : []),
  ].join('');
}

function drawWord({ style, text, column }: { style: string; text: string; column: number }): string {
  const x = (PADDING + column * CELL.width).toFixed(1);
  const length = ([...text].length * CELL.width).toFixed(1);
  return `<tspan${style} x="${x}" textLength="${length}" lengthAdjust="spacingAndGlyphs">${escapeXml(text)}</tspan>`;
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
