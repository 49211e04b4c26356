import escapeHtml from 'escape-html';
import { BOOT_STAGES } from '../verdict/stages.ts';
import type { BootReport } from '../verify/boot-report.ts';
import { firmwareName, times } from './text.ts';

const STYLE = `
:root { color-scheme: light dark; --good: #1a7f37; --bad: #cf222e; --line: #8884; --soft: #8882; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin: 0; } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
section { border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0; }
.verdict { display: inline-block; color: #fff; border-radius: 4px; padding: 0 .5rem; font-weight: 600; }
.good { background: var(--good); } .bad { background: var(--bad); }
.facts { opacity: .75; margin: .2rem 0 .6rem; }
.cause { border-left: 4px solid var(--bad); padding: .2rem .8rem; margin: .8rem 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top; }
pre { background: #111; color: #ddd; padding: .8rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 26rem; font-size: 12px; border-radius: 6px; }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 6px; image-rendering: pixelated; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
code { overflow-wrap: anywhere; } details { margin-top: .8rem; }
`;

/** A report, and what it is called where that says more than the image's name. */
type TitledReport = BootReport & { readonly title?: string };

const titleOf = ({ title, image }: TitledReport): string => title ?? image;

/** Reports as one HTML page that needs nothing beside itself: verdicts, timelines as pictures, checks, the console as a person
 *  would have seen it, the screen, QEMU's command line. Nothing of what a guest prints is taken for HTML. */
export function renderHtml(reports: readonly TitledReport[], title = 'Boot verification'): string {
  const good = reports.every(({ ok }) => ok);
  // No script, and nothing from elsewhere, whatever a guest has printed.
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}: ${good ? 'good' : 'bad'}</title><style>${STYLE}</style></head>
<body><h1>${escapeHtml(title)} ${verdict(good)}</h1>
${reports.length > 1 ? overview(reports) : ''}
${reports.map(section).join('\n')}
</body></html>
`;
}

function verdict(ok: boolean): string {
  return ok ? '<span class="verdict good">GOOD</span>' : '<span class="verdict bad">BAD</span>';
}

function overview(reports: readonly TitledReport[]): string {
  const rows = reports.map(
    (report, index) =>
      `<tr><td>${verdict(report.ok)}</td><td><a href="#boot-${index}">${escapeHtml(titleOf(report))}</a></td>` +
      `<td>${firmwareName(report)}</td><td>${seconds(report.durationMs)}</td>` +
      `<td>${escapeHtml(report.failure === undefined ? '' : `${report.failure.stage}: ${report.failure.name}`)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

function section(report: TitledReport, index: number): string {
  const { failure } = report;
  const parts = [
    `<h2>${verdict(report.ok)} ${escapeHtml(titleOf(report))}</h2>`,
    `<p class="facts">${firmwareName(report)}, ${report.accelerator.toUpperCase()}, ${seconds(report.durationMs)}, QEMU ${escapeHtml(report.qemuVersion)}</p>`,
    failure === undefined
      ? ''
      : `<p class="cause"><strong>Failed in stage “${escapeHtml(failure.stage)}”</strong> (${escapeHtml(failure.name)})<br>${escapeHtml(failure.cause).replaceAll('\n', '<br>')}</p>`,
    `<h3>Timeline</h3>${timeline(report)}`,
    report.checks.length === 0 ? '' : `<h3>Checks</h3>${checks(report)}`,
    report.warnings.length === 0
      ? ''
      : `<h3>Warnings</h3><ul>${report.warnings.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul>`,
    report.typed.length === 0 ? '' : `<h3>Typed by the verifier</h3>${typed(report)}`,
    report.reboots === 0 ? '' : `<p>The guest restarted itself ${times(report.reboots)}, which was allowed.</p>`,
    report.ignored.length === 0
      ? ''
      : `<h3>Ignored</h3><ul>${report.ignored.map(({ code, message }) => `<li><code>${escapeHtml(code)}</code>: ${escapeHtml(message)}</li>`).join('')}</ul>`,
    report.screenshot === undefined
      ? ''
      : `<h3>Screen</h3><img alt="the machine's screen" src="data:image/png;base64,${report.screenshot}">`,
    `<h3>Serial console</h3><pre>${report.console.map(escapeHtml).join('\n') || '(it showed nothing)'}</pre>`,
    `<details><summary>QEMU’s command line</summary><p><code>${report.qemuArgv.map(escapeHtml).join(' ')}</code></p></details>`,
  ];
  return `<section id="boot-${index}">${parts.filter((part) => part !== '').join('\n')}</section>`;
}

const WIDTH = 900;
const LABEL_WIDTH = 90;
const ROW_HEIGHT = 22;

/** A bar a stage, from its first sign to the next stage's. */
function timeline({ timeline: seen, durationMs, ok }: BootReport): string {
  const scale = (atMs: number): number => LABEL_WIDTH + (atMs / Math.max(durationMs, 1)) * (WIDTH - LABEL_WIDTH - 70);
  const height = ROW_HEIGHT * Math.max(seen.length, 1) + 4;
  const rows = seen.map(({ stage, atMs }, row) => {
    const until = seen[row + 1]?.atMs ?? durationMs;
    const x = scale(atMs);
    const width = Math.max(2, scale(until) - x);
    const hue = 210 + BOOT_STAGES.indexOf(stage) * 18;
    const last = row === seen.length - 1 && !ok;
    const fill = last ? 'var(--bad)' : `hsl(${hue} 55% 52%)`;
    const y = row * ROW_HEIGHT + 4;
    return (
      `<text x="0" y="${y + 13}">${stage}</text>` +
      `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="16" rx="3" fill="${fill}"><title>${stage}: ${seconds(atMs)} to ${seconds(until)}</title></rect>` +
      `<text x="${(x + width + 5).toFixed(1)}" y="${y + 13}">${seconds(until - atMs)}</text>`
    );
  });
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="boot stages over time">${rows.join('') || '<text x="0" y="16">no stage was seen</text>'}</svg>`;
}

function checks({ checks: all }: BootReport): string {
  const rows = all.map(
    ({ name, ok, message = '', durationMs }) =>
      `<tr><td>${verdict(ok)}</td><td>${escapeHtml(name)}</td><td>${escapeHtml(message).replaceAll('\n', '<br>')}</td><td>${seconds(durationMs)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

/** Every key, with the line that it was typed at. */
function typed({ typed: all }: BootReport): string {
  const rows = all.map(
    ({ keys, line, atMs, why }) =>
      `<tr><td>${seconds(atMs)}</td><td><code>${escapeHtml(JSON.stringify(keys))}</code></td><td><code>${escapeHtml(line.trim())}</code></td><td>${escapeHtml(why)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
