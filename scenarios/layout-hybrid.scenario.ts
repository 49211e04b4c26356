import { scenario } from './scenario.ts';

scenario('hybrid, GRUB: the same file in both modes', {
  system: 'demo-grub-hybrid',
  image: { partitionTableType: 'hybrid' },
  boots: ['legacy', 'efi'],
});
scenario('hybrid, systemd-boot', {
  system: 'demo-systemd-boot',
  image: { partitionTableType: 'hybrid' },
  boots: ['efi'],
});
