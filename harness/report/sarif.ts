import { isAbsolute } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SarifBuilder, SarifResultBuilder, SarifRuleBuilder, SarifRunBuilder } from 'node-sarif-builder';
import type { Finding } from '../../lib/inspect/finding.ts';
import type { ImageInspection } from '../../lib/inspect/inspect-image.ts';
import { FAILURE_PATTERNS } from '../verdict/failures.ts';
import { QUESTIONS } from '../verdict/questions.ts';
import type { BootReport, IgnoredFailure } from '../verify/boot-report.ts';
import { findDecisive } from './decisive-line.ts';
import { firmwareName } from './words.ts';

type Result = SarifResultBuilder['result'];
type Location = NonNullable<Result['locations']>[number];
type Artifact = NonNullable<SarifRunBuilder['run']['artifacts']>[number];

const LEVELS = { fatal: 'error', error: 'error', warning: 'warning' } as const satisfies Record<
  Finding['severity'],
  string
>;

/** Boots as SARIF 2.1.0: a result for each failure, at the image, with the line of the console that shows it; what was to be
 *  tolerated is a result that is suppressed.
 *  @param version of this package.
 *  @see https://docs.oasis-open.org/sarif/sarif/v2.1.0/ */
export function renderBootSarif(reports: readonly BootReport[], version: string): string {
  const artifacts: Artifact[] = [];
  const results = reports.flatMap((report) => [
    ...failureOf(report, artifacts),
    ...report.ignored.map((ignored) => ignoredResult(report, ignored)),
  ]);
  return render(results, [...reports.map(({ image }) => image)], artifacts, version);
}

/** What is wrong with an image that was not booted, as SARIF 2.1.0. */
export function renderInspectionSarif({ image, findings }: ImageInspection, version: string): string {
  const results = findings.map(({ code, severity, stage, firmware, message }) => ({
    ...{ ruleId: code, level: LEVELS[severity], message: { text: message }, locations: [at(image)] },
    properties: { stage, ...(firmware === undefined ? {} : { firmware }) },
  }));
  return render(results, [image], [], version);
}

function failureOf(report: BootReport, artifacts: Artifact[]): Result[] {
  const { failure, image, firmware } = report;
  if (failure === undefined) return [];
  const lines = failure.lastLines.length > 0 ? failure.lastLines : report.console;
  const decisive = findDecisive(lines, failure.line);
  // The console has no file of its own: it is in the report, and its lines are counted there.
  const index = artifacts.push({
    description: { text: `the end of the console, ${firmwareName(report)}` },
    contents: { text: lines.join('\n') },
  });
  const shown: Location = {
    message: { text: 'the console' },
    physicalLocation: {
      artifactLocation: { index: index - 1 },
      ...(decisive === undefined
        ? {}
        : { region: { startLine: decisive + 1, snippet: { text: lines[decisive] ?? '' } } }),
    },
  };
  return [
    {
      ...{ ruleId: failure.name, level: 'error', locations: [at(image)], relatedLocations: [shown] },
      message: { text: `${firmwareName(report)}, stage "${failure.stage}": ${failure.cause}` },
      properties: { stage: failure.stage, firmware },
    },
  ];
}

function ignoredResult(report: BootReport, { code, message }: IgnoredFailure): Result {
  return {
    ...{ ruleId: code, level: 'warning', message: { text: message }, locations: [at(report.image)] },
    suppressions: [{ kind: 'external', justification: 'tolerated by --ignore' }],
    properties: { firmware: report.firmware },
  };
}

function render(
  results: readonly Result[],
  images: readonly string[],
  artifacts: readonly Artifact[],
  version: string,
): string {
  const run = new SarifRunBuilder().initSimple({ toolDriverName: 'nixos-disk-image', toolDriverVersion: version });
  for (const ruleId of new Set(results.flatMap(({ ruleId }) => ruleId ?? [])))
    run.addRule(new SarifRuleBuilder().initSimple({ ruleId, shortDescriptionText: describe(ruleId) }));
  for (const result of results) run.addResult(Object.assign(new SarifResultBuilder(), { result }));
  run.run.artifacts = [
    ...artifacts,
    ...[...new Set(images)].map((image) => ({ location: { uri: uriOf(image) }, roles: ['analysisTarget' as const] })),
  ];
  run.run.invocations = [{ executionSuccessful: true }];
  const log = new SarifBuilder();
  log.addRun(run);
  // The builder's own text fails where a console shows a word that it keeps for itself.
  return `${JSON.stringify(log.buildSarifOutput(), undefined, 2)}\n`;
}

function at(image: string): Location {
  return { physicalLocation: { artifactLocation: { uri: uriOf(image) } } };
}

/** A relative path stays one: a service resolves it in the checkout. */
function uriOf(path: string): string {
  if (isAbsolute(path)) return pathToFileURL(path).href;
  return path.split('/').map(encodeURIComponent).join('/');
}

/** A failure's cause, or the words of its name. */
function describe(name: string): string {
  const known = [...FAILURE_PATTERNS, ...QUESTIONS].find((one) => one.name === name);
  return known?.cause ?? name.replaceAll('-', ' ');
}
