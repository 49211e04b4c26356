import { scenario } from './scenario.ts';

scenario('efixbootldr, GRUB', {
  system: 'demo-grub-xbootldr',
  image: { partitionTableType: 'efixbootldr' },
  boots: ['efi'],
});
scenario('efixbootldr, systemd-boot', {
  system: 'demo-systemd-boot-xbootldr',
  image: { partitionTableType: 'efixbootldr' },
  boots: ['efi'],
});
