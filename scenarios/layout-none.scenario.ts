import { scenario } from './scenario.ts';

scenario('none: direct kernel boot', { system: 'demo-none', image: { partitionTableType: 'none' }, boots: ['direct'] });
