import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { PNG } from 'pngjs';
import { expect, test } from 'vitest';
import { renderHtml } from '../../../../harness/report/html.ts';
import { renderJunit } from '../../../../harness/report/junit.ts';
import { renderMarkdown } from '../../../../harness/report/markdown.ts';
import type { BootReport } from '../../../../harness/verify/boot-report.ts';
import { localExecutor } from '../../../../lib/run/local-executor.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

function picture(): string {
  const png = new PNG({ width: 720, height: 400 });
  png.data.fill(0xff);
  return PNG.sync.write(png).toString('base64');
}

const good: BootReport = {
  ...{
    image: 'images/nixos.img',
    firmware: 'bios',
    architecture: 'x86_64',
    accelerator: 'tcg',
    ok: true,
    stageReached: 'login',
  },
  timeline: [
    { stage: 'firmware', atMs: 120 },
    { stage: 'loader', atMs: 300 },
    { stage: 'kernel', atMs: 2500 },
    { stage: 'login', atMs: 8000 },
  ],
  checks: [{ name: 'firmware mode', ok: true, message: 'no efi', durationMs: 200 }],
  ...{ failure: undefined, warnings: ['a warning'], cleanShutdown: true, durationMs: 9500, waitedMs: 0 },
  ...{ ignored: [], typed: [], reboots: 0 },
  ...{ qemuVersion: '7.2', qemuArgv: ['qemu-system-x86_64', '-name', 'guest=x'], console: ['demo login:'] },
  screenshot: picture(),
};

// Output from a guest, which must stay text in every report.
const HOSTILE =
  '</pre><script>document.title = "owned"</script><img src=x onerror="document.title=1"> ]]> & "\u0000\u001b[31m';
const bad: BootReport = {
  ...good,
  ...{
    image: `evil ${HOSTILE}`,
    firmware: 'efi',
    ok: false,
    screenshot: undefined,
    console: [HOSTILE, 'Kernel panic'],
  },
  checks: [{ name: HOSTILE, ok: false, message: HOSTILE, durationMs: 1 }],
  failure: { name: 'kernel-panic', stage: 'kernel', cause: `the kernel panicked: ${HOSTILE}`, lastLines: [HOSTILE] },
};

const CHROMIUM = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'];

test('a real browser shows the page correctly, with any output from a guest', async () => {
  const directory = await tempDirectory();
  const page = join(directory, 'report.html');
  await writeFile(page, renderHtml([good, bad], 'nixos.img'));
  const env = { HOME: directory, XDG_CONFIG_HOME: directory, XDG_CACHE_HOME: directory };
  const url = `file://${encodeURI(page)}`;
  const dom = await localExecutor.run([...CHROMIUM, '--dump-dom', url], { env });
  expect(dom.exitCode, dom.stderr.toString('utf8')).toBe(0);
  const text = dom.stdout.toString('utf8');
  expect(text).toContain('<title>nixos.img: bad</title>');
  expect(text.match(/<section id="boot-/g)).toHaveLength(2);
  // The guest's output has created no element in the browser.
  expect(text.match(/<script/g)).toBeNull();
  expect(text.match(/<img /g)).toHaveLength(1);

  const shot = join(directory, 'shot.png');
  await localExecutor.run([...CHROMIUM, '--window-size=1100,1800', `--screenshot=${shot}`, url], { env });
  const read = await localExecutor.run(['tesseract', shot, '-', '--psm', '11'], { env: { HOME: directory } });
  const words = read.stdout.toString('utf8');
  for (const seen of ['Timeline', 'Serial console', 'kernel']) expect(words).toContain(seen);
  // The verdicts in their colors.
  const { data } = PNG.sync.read(await readFile(shot));
  const count = (red: number, green: number, blue: number): number => {
    let pixels = 0;
    for (let at = 0; at < data.length; at += 4)
      if (data[at] === red && data[at + 1] === green && data[at + 2] === blue) pixels += 1;
    return pixels;
  };
  expect(count(0x1a, 0x7f, 0x37)).toBeGreaterThan(500);
  expect(count(0xcf, 0x22, 0x2e)).toBeGreaterThan(500);
});

test('an expected result is green, also if it is a failure', () => {
  const failed = { ...bad, checks: [] };
  const title = (page: string): string | undefined => /<title>(.*)<\/title>/.exec(page)?.[1];
  const asExpected = renderHtml([{ ...failed, expected: { outcome: 'not to boot', met: true } }]);
  expect(title(asExpected)).toBe('Boot verification: good');
  expect(asExpected).toContain('FAILS AS EXPECTED');
  expect(asExpected).toContain('Expected not to boot');
  expect(asExpected).not.toContain('class="verdict bad"');
  const booted = renderHtml([good, { ...good, expected: { outcome: 'not to boot', met: false } }]);
  expect(title(booted)).toBe('Boot verification: bad');
  expect(booted).toContain('NOT AS EXPECTED');
  const otherwise = renderHtml([{ ...failed, expected: { outcome: 'to end with "hang"', met: false } }]);
  expect(title(otherwise)).toBe('Boot verification: bad');
  expect(otherwise).toContain('Expected to end with &quot;hang&quot;');
});

test('the XML is well-formed and counts boots and checks', () => {
  const xml = renderJunit([good, bad]);
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
  const failed = { ...bad, failure: { name: 'kernel-panic', stage: 'kernel', cause, lastLines: [HOSTILE] } };
  const summary = renderMarkdown([good, failed], '*x*.img');
  expect(summary).toContain('### \u274c \\*x\\*.img\n');
  const rows = summary.split('\n').filter((line) => line.startsWith('|'));
  expect(rows).toHaveLength(4);
  expect(rows[2]).toMatch(/^\| legacy BIOS +\| good +\| 9\.5 s +\| +\|$/);
  // The guest's output creates no cell, code, element or heading.
  expect(rows[3]).toContain('`kernel-panic` a \\| b \\`c\\` \\<b>d\\</b> # e');
  expect(summary).toContain('\n```\n</pre><script>');
  expect(renderMarkdown([good], 'x')).toContain('- a warning');
});
