import { XMLBuilder } from 'fast-xml-parser';
import type { BootReport } from '../verify/boot-report.ts';
import { firmwareName } from './words.ts';

const builder = new XMLBuilder({
  ignoreAttributes: false,
  attributeNamePrefix: '@',
  format: true,
  suppressEmptyNode: true,
});

/** Characters that XML 1.0 cannot contain; a console may print any. */
const NOT_XML = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd]/g;

/** Renders reports as JUnit XML for CI systems: a suite for each boot, with a test case for the boot and for each check.
 *  @see https://github.com/testmoapp/junitxml */
export function renderJunit(reports: readonly BootReport[]): string {
  const suites = reports.map((report) => {
    const { failure } = report;
    const suiteName = clean(`${report.image}, ${firmwareName(report)}`);
    const bootFailed = failure !== undefined && failure.stage !== 'checks';
    const cases = [
      {
        '@name': `boots (${report.firmware})`,
        '@classname': suiteName,
        '@time': seconds(report.durationMs - report.checks.reduce((sum, check) => sum + check.durationMs, 0)),
        ...(bootFailed ? failed(`${failure.stage}: ${failure.cause}`, failure.name, failure.lastLines.join('\n')) : {}),
      },
      ...report.checks.map((check) => ({
        '@name': clean(check.name),
        '@classname': suiteName,
        '@time': seconds(check.durationMs),
        ...(check.ok ? {} : failed(check.message?.split('\n')[0] ?? 'failed', 'check', check.message ?? '')),
      })),
    ];
    return {
      '@name': suiteName,
      '@tests': cases.length,
      '@failures': cases.filter((one) => 'failure' in one).length,
      '@errors': 0,
      '@skipped': 0,
      '@time': seconds(report.durationMs),
      properties: {
        property: [
          { '@name': 'architecture', '@value': report.architecture },
          { '@name': 'accelerator', '@value': report.accelerator },
          { '@name': 'qemu', '@value': clean(report.qemuVersion) },
          ...report.timeline.map(({ stage, atMs }) => ({ '@name': `stage: ${stage}`, '@value': `${seconds(atMs)} s` })),
        ],
      },
      testcase: cases,
      'system-out': clean(
        [
          ...report.warnings.map((text) => `warning: ${text}`),
          ...report.ignored.map(({ code, message }) => `ignored (${code}): ${message}`),
          ...report.typed.map(({ keys, line, why }) => `typed ${JSON.stringify(keys)} at "${line.trim()}": ${why}`),
          ...report.console,
        ].join('\n'),
      ),
    };
  });
  return builder.build({
    '?xml': { '@version': '1.0', '@encoding': 'UTF-8' },
    testsuites: { '@name': 'nixos-disk-image verify', testsuite: suites },
  });
}

function failed(message: string, type: string, text: string): object {
  return { failure: { '@message': clean(message), '@type': type, '#text': clean(text) } };
}

function clean(text: string): string {
  return text.replace(NOT_XML, '\ufffd');
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(3);
}
