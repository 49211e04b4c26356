import schemaOfOasis from '@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json' with { type: 'json' };
import { expect, test } from 'vitest';
import { z } from 'zod';
import { renderBootSarif, renderInspectionSarif } from '../../../../harness/report/sarif.ts';
import { finding } from '../../../../lib/inspect/finding.ts';
import type { ImageInspection } from '../../../../lib/inspect/inspect-image.ts';
import { badReport, goodReport } from '../../../helpers/boot-reports.ts';

// zod's URI is a URL, and SARIF's may be relative to the checkout.
const schema = z.fromJSONSchema(
  JSON.parse(JSON.stringify(schemaOfOasis), (key, value) => (key === 'format' ? undefined : value)),
  { defaultTarget: 'draft-4' },
);

function parsed(text: string) {
  const log = JSON.parse(text);
  expect(schema.safeParse(log).error?.issues ?? []).toEqual([]);
  expect(log.runs).toHaveLength(1);
  return log.runs[0];
}

test('what is not SARIF is refused by the schema', () => {
  expect(schema.safeParse({ version: '2.1.0', runs: [{ tool: { driver: {} } }] }).success).toBe(false);
});

test('a good boot has no result', () => {
  const run = parsed(renderBootSarif([goodReport], '1.2.3'));
  expect(run.results).toEqual([]);
  expect(run.tool.driver).toMatchObject({ name: 'nixos-disk-image', version: '1.2.3', rules: [] });
  expect(run.artifacts).toEqual([{ location: { uri: 'images/nixos.img' }, roles: ['analysisTarget'] }]);
});

test('a failure is a result at the image, with its rule and the line of the console that shows it', () => {
  const line = '[    2.100000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)';
  const report = {
    ...badReport,
    image: 'images/a b#c.img',
    failure: {
      ...{ name: 'kernel-panic-no-root', stage: 'kernel', lastLines: ['one', line, 'three'], line },
      cause: 'the kernel has no root: Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)',
    },
  };
  const { results, artifacts, tool } = parsed(renderBootSarif([report], '1.2.3'));
  const [result] = results;
  expect(result).toMatchObject({ ruleId: 'kernel-panic-no-root', level: 'error', ruleIndex: 0 });
  expect(result.message.text).toMatch(/^EFI, stage "kernel": the kernel has no root/);
  expect(result.locations[0].physicalLocation.artifactLocation.uri).toBe('images/a%20b%23c.img');
  const { artifactLocation, region } = result.relatedLocations[0].physicalLocation;
  expect(region).toEqual({ startLine: 2, snippet: { text: line } });
  expect(artifacts[artifactLocation.index].contents.text.split('\n')[region.startLine - 1]).toBe(line);
  expect(tool.driver.rules[0]).toMatchObject({ id: 'kernel-panic-no-root' });
  expect(tool.driver.rules[0].shortDescription.text).not.toBe('kernel panic no root');
});

test('what is tolerated is suppressed', () => {
  const ignored = [{ code: 'gpt-backup-damaged', message: 'the backup GPT is damaged' }];
  const { results } = parsed(renderBootSarif([{ ...goodReport, ignored }], '1.2.3'));
  expect(results).toMatchObject([{ ruleId: 'gpt-backup-damaged', suppressions: [{ kind: 'external' }] }]);
});

test('findings of an image that was not booted', () => {
  const image = {
    image: '/images/nixos.img',
    findings: [
      finding('no-boot-code', 'fatal', 'firmware', 'no boot code', 'bios'),
      finding('random-seed-shared', 'warning', 'loader', 'a seed', undefined),
    ],
  } as unknown as ImageInspection;
  const { results, tool } = parsed(renderInspectionSarif(image, '1.2.3'));
  expect(results).toMatchObject([
    { ruleId: 'no-boot-code', level: 'error', properties: { stage: 'firmware', firmware: 'bios' } },
    { ruleId: 'random-seed-shared', level: 'warning', properties: { stage: 'loader' } },
  ]);
  expect(results[0].locations[0].physicalLocation.artifactLocation.uri).toBe('file:///images/nixos.img');
  expect(tool.driver.rules).toHaveLength(2);
});

test('whatever a guest prints stays text', () => {
  const line = 'SARIF_BUILDER_INVALID \u0000\ud800 </script>';
  const failure = { name: 'hang', stage: 'init', cause: `hangs: ${line}`, lastLines: [line], line };
  const report = { ...badReport, failure };
  const { results } = parsed(renderBootSarif([report], '1.2.3'));
  expect(results[0].relatedLocations[0].physicalLocation.region.snippet.text).toBe(line);
});
