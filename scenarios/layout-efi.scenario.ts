import { layoutScenario } from './scenario.ts';

layoutScenario('efi, GRUB', { system: 'demo-grub-efi', image: { partitionTableType: 'efi' }, boots: ['efi'] });
layoutScenario('efi, systemd-boot', {
  system: 'demo-systemd-boot',
  image: { partitionTableType: 'efi' },
  boots: ['efi'],
});
