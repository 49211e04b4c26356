import { layoutScenario } from './scenario.ts';

layoutScenario('hybrid, GRUB: the same image in both modes', {
  system: 'demo-grub-hybrid',
  image: { partitionTableType: 'hybrid' },
  boots: ['bios', 'efi'],
});
layoutScenario('hybrid, systemd-boot', {
  system: 'demo-systemd-boot',
  image: { partitionTableType: 'hybrid' },
  boots: ['efi'],
});
