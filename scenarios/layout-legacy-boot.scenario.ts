import { layoutScenario } from './scenario.ts';

layoutScenario('legacy+boot, GRUB', {
  system: 'demo-grub-bios-boot',
  image: { partitionTableType: 'legacy+boot' },
  boots: ['bios'],
});
