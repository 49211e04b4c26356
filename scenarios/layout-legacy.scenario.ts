import { layoutScenario } from './scenario.ts';

layoutScenario('legacy, GRUB', {
  system: 'demo-grub-bios',
  image: { partitionTableType: 'legacy' },
  boots: ['bios'],
});
layoutScenario('legacy, GRUB, with the root found by UUID', {
  system: 'tiny-grub-bios-uuid',
  image: { partitionTableType: 'legacy' },
  boots: ['bios'],
});
