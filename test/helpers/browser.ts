import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';

export interface View {
  readonly width: number;
  readonly colorScheme: 'light' | 'dark';
}

/** A desktop and a phone, in both color schemes. */
export const VIEWS: readonly View[] = [1200, 400].flatMap((width) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
);

/** Debian's Chromium for all tests of a file. @returns what opens a page in it. */
export function browserForTests(): (
  url: string,
  view?: View & { readonly javaScriptEnabled?: boolean },
) => Promise<Page> {
  let browser: Browser | undefined;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  });
  afterAll(() => browser?.close());
  return async (url, { width, colorScheme, javaScriptEnabled = true } = { width: 1200, colorScheme: 'light' }) => {
    if (browser === undefined) throw new Error('a page is opened in a test');
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme, javaScriptEnabled });
    await page.goto(url);
    return page;
  };
}

/** What axe finds wrong with a page, a line each. */
export async function accessibilityViolations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run());
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`),
  );
}

/** Pixels that a page is wider than its window. */
export async function overflow(page: Page): Promise<number> {
  return page.evaluate(() => {
    const { document, innerWidth } = globalThis as unknown as {
      document: { documentElement: { scrollWidth: number } };
      innerWidth: number;
    };
    return Math.max(0, document.documentElement.scrollWidth - innerWidth);
  });
}
