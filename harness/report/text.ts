import type { BootReport } from '../verify/boot-report.ts';
import { stageSpans } from './stage-spans.ts';
import { firmwareName, seconds, times } from './words.ts';

const BAR_COLUMNS = 40;

/** Renders a boot's verdict and timeline for a terminal. */
export function renderText(report: BootReport): string {
  const lines = [
    `${report.ok ? 'GOOD' : 'BAD '}  ${report.image}  ${firmwareName(report)}, ${report.accelerator.toUpperCase()}, ${seconds(report.durationMs)}`,
  ];
  const end = Math.max(report.durationMs, 1);
  for (const { stage, fromMs, untilMs } of stageSpans(report)) {
    const from = Math.round((fromMs / end) * BAR_COLUMNS);
    const length = Math.max(1, Math.round((untilMs / end) * BAR_COLUMNS) - from);
    lines.push(`  ${stage.padEnd(9)} ${seconds(fromMs).padStart(8)}  ${' '.repeat(from)}${'█'.repeat(length)}`);
  }
  for (const check of report.checks) {
    const message = check.message?.split('\n')[0];
    lines.push(
      `  ${check.ok ? 'ok  ' : 'FAIL'}  ${check.name}${message === undefined || message === '' ? '' : `: ${message}`}`,
    );
  }
  for (const { keys, line, why } of report.typed)
    lines.push(`  typed ${JSON.stringify(keys)} at "${line.trim()}": ${why}`);
  if (report.reboots > 0) lines.push(`  note  the guest rebooted ${times(report.reboots)}, as allowed`);
  for (const { code, message } of report.ignored) lines.push(`  ignored (${code}): ${message}`);
  for (const warning of report.warnings) lines.push(`  note  ${warning}`);
  if (report.failure !== undefined) {
    lines.push(`  failed in stage "${report.failure.stage}" (${report.failure.name}): ${report.failure.cause}`);
    if (report.failure.lastLines.length > 0)
      lines.push('  last lines of the console:', ...report.failure.lastLines.map((line) => `    ${line}`));
  }
  return lines.join('\n');
}
