import { render } from 'preact-render-to-string';
import type { TimedBoot } from './compare.ts';
import { Page } from './page/page.tsx';
import type { ReportedBoot } from './reported-boot.ts';

export interface HtmlOptions {
  /** Boots of an earlier run of the same image, to say which stage got slower. */
  readonly earlier?: readonly TimedBoot[] | undefined;
}

/** Reports as one HTML page that needs nothing beside itself: the verdict, timelines, checks, the screen, the console with a search.
 *  Nothing of what a guest prints is taken for HTML. */
export function renderHtml(
  reports: readonly ReportedBoot[],
  title = 'Boot verification',
  { earlier }: HtmlOptions = {},
): string {
  return `<!doctype html>\n${render(<Page boots={reports} title={title} earlier={earlier} />)}\n`;
}
