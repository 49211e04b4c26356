import { layoutScenario } from './scenario.ts';

layoutScenario('none: direct kernel boot', {
  system: 'demo-none',
  image: { partitionTableType: 'none' },
  boots: ['direct'],
});
