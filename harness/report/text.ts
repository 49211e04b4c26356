import type { BootReport } from '../verify/boot-report.ts';

const FIRMWARE_NAMES = { bios: 'legacy BIOS', efi: 'EFI', direct: 'direct kernel boot' } as const;
const BAR_COLUMNS = 40;

/** Returns the firmware's name, with the architecture unless it is x86-64. */
export function firmwareName({ firmware, architecture }: BootReport): string {
  return `${FIRMWARE_NAMES[firmware]}${architecture === 'x86_64' ? '' : `, ${architecture}`}`;
}

/** Renders a boot's verdict and timeline for a terminal. */
export function renderText(report: BootReport): string {
  const lines = [
    `${report.ok ? 'GOOD' : 'BAD '}  ${report.image}  ${firmwareName(report)}, ${report.accelerator.toUpperCase()}, ${seconds(report.durationMs)}`,
  ];
  const end = Math.max(report.durationMs, 1);
  for (const [index, { stage, atMs }] of report.timeline.entries()) {
    const until = report.timeline[index + 1]?.atMs ?? end;
    const from = Math.round((atMs / end) * BAR_COLUMNS);
    const length = Math.max(1, Math.round((until / end) * BAR_COLUMNS) - from);
    lines.push(`  ${stage.padEnd(9)} ${seconds(atMs).padStart(8)}  ${' '.repeat(from)}${'█'.repeat(length)}`);
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

/** Formats a count: "once", "2 times". */
export function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
