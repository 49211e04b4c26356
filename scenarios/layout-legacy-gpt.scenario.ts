import { scenario } from './scenario.ts';

scenario('legacy+gpt, GRUB', {
  system: 'demo-grub-bios',
  image: { partitionTableType: 'legacy+gpt' },
  boots: ['legacy'],
});
