import { scenario } from './scenario.ts';

scenario('legacy, GRUB', { system: 'demo-grub-bios', image: { partitionTableType: 'legacy' }, boots: ['legacy'] });
scenario('legacy, GRUB, the root found by UUID', {
  system: 'tiny-grub-bios-uuid',
  image: { partitionTableType: 'legacy' },
  boots: ['legacy'],
});
