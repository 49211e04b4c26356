import { scenario } from './scenario.ts';

scenario('efi, GRUB', { system: 'demo-grub-efi', image: { partitionTableType: 'efi' }, boots: ['efi'] });
scenario('efi, systemd-boot', { system: 'demo-systemd-boot', image: { partitionTableType: 'efi' }, boots: ['efi'] });
