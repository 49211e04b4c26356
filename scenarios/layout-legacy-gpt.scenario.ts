import { layoutScenario } from './scenario.ts';

layoutScenario('legacy+gpt, GRUB', {
  system: 'demo-grub-bios',
  image: { partitionTableType: 'legacy+gpt' },
  boots: ['bios'],
});
