import type { BlockContent, PhrasingContent, RootContent, TableRow } from 'mdast';
import { gfmTableToMarkdown } from 'mdast-util-gfm-table';
import { toMarkdown } from 'mdast-util-to-markdown';
import { formatDuration } from '../../lib/units.ts';
import type { BootReport } from '../verify/boot-report.ts';
import { firmwareName } from './words.ts';

/** Console lines in the summary of a failed boot. */
const LINES = 15;

/** Renders reports as GitHub-flavored Markdown for the summary of a CI job: a table of the boots, and the end of the console of
 *  each failed one. Output from a guest is escaped. */
export function renderMarkdown(reports: readonly BootReport[], name: string): string {
  const isGood = reports.every(({ ok }) => ok);
  const head = ['Firmware', 'Verdict', 'Time', 'Cause'].map((title): PhrasingContent[] => [text(title)]);
  const children: RootContent[] = [
    { type: 'heading', depth: 3, children: [text(`${isGood ? '✅' : '❌'} ${name}`)] },
    { type: 'table', children: [row(head), ...reports.map((report) => row(cells(report)))] },
    ...reports.flatMap(details),
  ];
  return toMarkdown({ type: 'root', children }, { extensions: [gfmTableToMarkdown()], bullet: '-' });
}

function cells(report: BootReport): PhrasingContent[][] {
  const { failure, ok, durationMs } = report;
  return [
    [text(firmwareName(report))],
    [text(ok ? 'good' : 'bad')],
    [text(formatDuration(durationMs))],
    failure === undefined ? [] : [{ type: 'inlineCode', value: failure.name }, text(` ${oneLine(failure.cause)}`)],
  ];
}

function details(report: BootReport): BlockContent[] {
  const { failure, warnings, ignored, console } = report;
  const notes = [...ignored.map(({ code, message }) => `ignored (${code}): ${message}`), ...warnings];
  const lines = (failure?.lastLines.length ?? 0) > 0 ? (failure?.lastLines ?? []) : console;
  const blocks: BlockContent[] = [];
  if (failure !== undefined)
    blocks.push(
      { type: 'paragraph', children: [text(`${firmwareName(report)}, the end of the console:`)] },
      { type: 'code', value: lines.slice(-LINES).join('\n') },
    );
  if (notes.length > 0)
    blocks.push({
      type: 'list',
      children: notes.map((note) => ({
        type: 'listItem',
        children: [{ type: 'paragraph', children: [text(oneLine(note))] }],
      })),
    });
  return blocks;
}

function row(columns: readonly PhrasingContent[][]): TableRow {
  return { type: 'tableRow', children: columns.map((children) => ({ type: 'tableCell', children })) };
}

function text(value: string): PhrasingContent {
  return { type: 'text', value };
}

function oneLine(value: string): string {
  return value.replace(/\s+/g, ' ').trim();
}
