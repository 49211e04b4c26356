import type { BootReport } from '../verify/boot-report.ts';
import { firmwareName } from './words.ts';

/** Failures as annotations of GitHub Actions, a workflow command each. What a guest printed stays text.
 *  @see https://docs.github.com/actions/reference/workflow-commands-for-github-actions */
export function renderAnnotations(reports: readonly BootReport[]): string {
  return reports
    .flatMap((report) => {
      const { failure, image } = report;
      if (failure === undefined) return [];
      const title = `${firmwareName(report)}: ${failure.name}`;
      return [`::error file=${property(image)},title=${property(title)}::${data(failure.cause)}\n`];
    })
    .join('');
}

function data(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}

function property(text: string): string {
  return data(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
}
