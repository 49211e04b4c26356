import { expect, test } from 'vitest';
import { renderAnnotations } from '../../../../harness/report/annotations.ts';
import { badReport, goodReport } from '../../../helpers/boot-reports.ts';

test('a failure is one workflow command, whatever a guest printed', () => {
  const failure = { name: 'hang', stage: 'init', cause: 'hangs: 9 %\r\n::error::forged', lastLines: [] };
  const report = { ...badReport, image: 'a,b:c\n.img', failure };
  expect(renderAnnotations([goodReport, report])).toBe(
    '::error file=a%2Cb%3Ac%0A.img,title=EFI%3A hang::hangs: 9 %25%0D%0A::error::forged\n',
  );
});
