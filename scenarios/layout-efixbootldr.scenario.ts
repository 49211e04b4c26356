import { layoutScenario } from './scenario.ts';

layoutScenario('efixbootldr, GRUB', {
  system: 'demo-grub-xbootldr',
  image: { partitionTableType: 'efixbootldr' },
  boots: ['efi'],
});
layoutScenario('efixbootldr, systemd-boot', {
  system: 'demo-systemd-boot-xbootldr',
  image: { partitionTableType: 'efixbootldr' },
  boots: ['efi'],
});
