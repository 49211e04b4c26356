import { scenario } from './scenario.ts';

scenario('legacy+boot, GRUB', {
  system: 'demo-grub-bios-boot',
  image: { partitionTableType: 'legacy+boot' },
  boots: ['legacy'],
});
