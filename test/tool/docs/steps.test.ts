import { expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { stepDocumentation } from '../../helpers/step-documentation.ts';

test('docs/steps.md is what the types and docstrings of the steps say (vitest --update writes it)', async () => {
  await expect(stepDocumentation()).toMatchFileSnapshot(packageFile('docs/steps.md'));
});
