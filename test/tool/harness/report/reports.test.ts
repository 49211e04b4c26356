import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, test } from 'vitest';
import { type HtmlOptions, renderHtml } from '../../../../harness/report/html.tsx';
import { renderJunit } from '../../../../harness/report/junit.ts';
import { renderMarkdown } from '../../../../harness/report/markdown.ts';
import type { ReportedBoot } from '../../../../harness/report/reported-boot.ts';
import { BAD_BOOT, GOOD_BOOT, HOSTILE, PANIC } from '../../../helpers/boot-reports.ts';
import { accessibilityViolations, browserForTests, overflow, VIEWS } from '../../../helpers/browser.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const openPage = browserForTests();

/** The address of a page that was made of reports. */
async function pageOf(boots: readonly ReportedBoot[], options: HtmlOptions = {}): Promise<string> {
  const file = join(await tempDirectory(), 'report.html');
  await writeFile(file, renderHtml(boots, undefined, options));
  return `file://${encodeURI(file)}`;
}

const expected = { outcome: 'not to boot', met: true };
const EFI = { ...GOOD_BOOT, firmware: 'efi' as const };
const SLOWER = { ...EFI, timeline: GOOD_BOOT.timeline.map((one) => ({ ...one, atMs: one.atMs * 2 })) };

const PAGES: [name: string, boots: readonly ReportedBoot[], options: HtmlOptions][] = [
  ['a good boot', [GOOD_BOOT], {}],
  ['a bad boot', [BAD_BOOT], {}],
  [
    'boots of tests',
    [GOOD_BOOT, BAD_BOOT, { ...BAD_BOOT, expected }, EFI, EFI].map((boot) => ({
      ...{ ...boot, title: `t ${HOSTILE}`, console: boot.console.slice(-40) },
    })),
    {},
  ],
  ['two runs', [{ ...SLOWER, image: 'other.img' }], { earlier: [GOOD_BOOT, EFI] }],
  ['two runs, one of them under KVM', [GOOD_BOOT, SLOWER], { earlier: [{ ...GOOD_BOOT, accelerator: 'kvm' }] }],
  ['nothing seen', [{ ...BAD_BOOT, timeline: [], kernelTimes: undefined, console: [], failure: undefined }], {}],
];

describe.each(PAGES)('the page of %s', (_, boots, options) => {
  test.each(VIEWS)('is accessible and fits: $width pixels, $colorScheme', async (view) => {
    const page = await openPage(await pageOf(boots, options), view);
    expect(await overflow(page)).toBe(0);
    // Folded parts are inspected as well.
    await page.evaluate('for (const one of document.querySelectorAll("details")) one.open = true');
    expect(await overflow(page)).toBe(0);
    expect(await accessibilityViolations(page)).toEqual([]);
  });

  test('makes no element, script or request of what a guest printed', async () => {
    const page = await openPage('about:blank');
    const requests: string[] = [];
    const faults: string[] = [];
    page.on('request', (request) => requests.push(request.url()));
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => faults.push(message.text()));
    const url = await pageOf(boots, options);
    await page.goto(url);
    expect(faults).toEqual([]);
    expect(requests.filter((one) => one !== url && !one.startsWith('data:image/png;base64,'))).toEqual([]);
    expect(await page.title()).not.toBe('owned');
    expect(await page.locator('script').count()).toBe(1);
    expect(await page.locator('style').count()).toBe(1);
    expect(await page.locator('img[onerror]').count()).toBe(0);
    const text = (await page.locator('body').textContent()) ?? '';
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may be there.
    expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202e]/);
    if (boots.includes(BAD_BOOT)) expect(text).toContain('"\\x00\\x1b[31m\\u202e');
  });
});

test('the headline leads to the line that decided, also where it is folded', async () => {
  const page = await openPage(await pageOf([GOOD_BOOT, BAD_BOOT]));
  expect(await page.locator('h1').textContent()).toContain('1 of 2 boots failed');
  // Failing first.
  expect(await page.locator('.boot .outcome').allTextContents()).toEqual(['bad', 'good']);
  const line = page.locator('.console .decisive');
  expect(await line.count()).toBe(1);
  expect(await line.textContent()).toContain(PANIC);
  await page.evaluate('for (const one of document.querySelectorAll("details")) one.open = false');
  expect(await line.isVisible()).toBe(false);
  await page.evaluate('document.querySelector("#boot-1 > details").open = true');
  await page.getByRole('link', { name: /^Line \d+ of the console$/ }).click();
  expect(await line.isVisible()).toBe(true);
  expect(page.url()).toMatch(/#boot-1-L\d+$/);
});

test('the lines of a single boot have short anchors, which unfold what they are in', async () => {
  const page = await openPage(`${await pageOf([GOOD_BOOT])}#L3`);
  expect(await page.locator('#L3').isVisible()).toBe(true);
  await page.goto(page.url().replace('#L3', '#L200'));
  expect(await page.locator('#L200').isVisible()).toBe(true);
});

test('the console is searched by keyboard', async () => {
  const page = await openPage(await pageOf([GOOD_BOOT]));
  const search = page.getByRole('searchbox');
  await search.fill('VIRTIO');
  const found = GOOD_BOOT.console.filter((line) => /virtio/i.test(line)).length;
  const output = page.locator('.search output');
  expect(await output.textContent()).toBe(`1 of ${found}`);
  expect(await page.locator('.hit').count()).toBe(found);
  expect(await page.locator('.current').isVisible()).toBe(true);
  await search.press('Enter');
  expect(await output.textContent()).toBe(`2 of ${found}`);
  await search.press('Shift+Enter');
  await search.press('Shift+Enter');
  expect(await output.textContent()).toBe(`${found} of ${found}`);
  await search.fill('nobody says this');
  expect(await output.textContent()).toBe('no match');
  await search.fill('');
  expect(await page.locator('.hit').count()).toBe(0);
});

test('all of the console is folded and unfolded at once', async () => {
  const page = await openPage(await pageOf([GOOD_BOOT]));
  const sections = await page.locator('.lines details').count();
  await page.getByRole('button', { name: 'Unfold all' }).click();
  expect(await page.locator('.lines details[open]').count()).toBe(sections);
  await page.getByRole('button', { name: 'Fold all', exact: true }).click();
  expect(await page.locator('.lines details[open]').count()).toBe(0);
});

test('the theme is the system’s until somebody chooses another', async () => {
  const page = await openPage(await pageOf([GOOD_BOOT]), { width: 1200, colorScheme: 'dark' });
  const background = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
  const dark = await background();
  const button = page.locator('.theme');
  await button.click();
  const light = await background();
  expect(light).not.toBe(dark);
  await button.click();
  expect(await background()).toBe(dark);
  await page.emulateMedia({ colorScheme: 'light' });
  expect(await background()).toBe(dark);
  await button.click();
  expect(await background()).toBe(light);
});

test('without JavaScript all is there but the search', async () => {
  const page = await openPage(await pageOf([BAD_BOOT]), {
    width: 1200,
    colorScheme: 'light',
    javaScriptEnabled: false,
  });
  expect(await page.locator('.console .decisive').isVisible()).toBe(true);
  expect(await page.locator('.search').isVisible()).toBe(false);
  await page.locator('.lines summary').first().click();
  expect(await page.locator('#L1').isVisible()).toBe(true);
});

test('of 20 MB of console the page has a part, says so, and where the whole is', async () => {
  const console = Array.from({ length: 250_000 }, (_, index) => `${index} ${'<&">'.repeat(20)}`);
  const html = renderHtml([{ ...GOOD_BOOT, console }]);
  expect(html.length).toBeLessThan(3_000_000);
  const page = await openPage(await pageOf([{ ...GOOD_BOOT, console }]));
  expect(await page.locator('.console').textContent()).toContain(
    '245,000 lines of 250,000 are left out to keep this page small. The whole console is in console-bios.log.',
  );
  expect(renderHtml(Array.from({ length: 30 }, () => ({ ...GOOD_BOOT, console }))).length).toBeLessThan(20_000_000);
});

test('what a test expected is as expected, a failure too', () => {
  const failed = { ...BAD_BOOT, title: 'a', checks: [] };
  const title = (html: string): string | undefined => /<title>(.*)<\/title>/.exec(html)?.[1];
  const asExpected = renderHtml([{ ...failed, expected }]);
  expect(title(asExpected)).toBe('The boot went as expected – Boot verification');
  expect(asExpected).toContain('fails as expected');
  expect(asExpected).toContain('expected not to boot');
  expect(asExpected).not.toContain('outcome bad');
  const booted = renderHtml([GOOD_BOOT, { ...GOOD_BOOT, title: 'b', expected: { ...expected, met: false } }]);
  expect(title(booted)).toBe('1 of 2 boots did not go as expected – Boot verification');
  expect(booted).toContain('not as expected');
});

test('the XML is well-formed, and counts boots and checks', () => {
  const xml = renderJunit([GOOD_BOOT, BAD_BOOT]);
  expect(XMLValidator.validate(xml)).toBe(true);
  const parsed = new XMLParser({ ignoreAttributes: false }).parse(xml);
  const suites = parsed.testsuites.testsuite as Record<string, unknown>[];
  expect(suites.map((suite) => [suite['@_tests'], suite['@_failures']])).toEqual([
    ['2', '0'],
    ['2', '2'],
  ]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML must not contain them.
  expect(xml).not.toMatch(/[\u0000-\u0008\u001b]/);
});

test('the summary is a table of the boots, and a guest’s output stays text', () => {
  const cause = 'a | b `c` <b>d</b>\n# e';
  const failed = { ...BAD_BOOT, failure: { name: 'kernel-panic', stage: 'kernel', cause, lastLines: [HOSTILE] } };
  const summary = renderMarkdown([GOOD_BOOT, failed], '*x*.img');
  expect(summary).toContain('### \u274c \\*x\\*.img\n');
  const rows = summary.split('\n').filter((line) => line.startsWith('|'));
  expect(rows).toHaveLength(4);
  expect(rows[2]).toMatch(/^\| legacy BIOS +\| good +\| 9\.5 s +\| +\|$/);
  // The guest's output creates no cell, code, element or heading.
  expect(rows[3]).toContain('`kernel-panic` a \\| b \\`c\\` \\<b>d\\</b> # e');
  expect(summary).toContain('\n```\n</pre></style>');
  expect(renderMarkdown([GOOD_BOOT], 'x')).toContain('- a warning');
});
