import { packageFile } from '../harness/cache-directory.ts';
import { equalCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

scenario('configFile becomes /etc/nixos/configuration.nix', {
  system: 'tiny-systemd-boot',
  image: { partitionTableType: 'efi', configFile: packageFile('vm-images/demo/default.nix') },
  boots: ['efi'],
  inside: [
    equalCheck('the first line', 'head -n 1 /etc/nixos/configuration.nix | cut -c 1-21', '# A NixOS-shaped syst'),
    equalCheck('the owner and mode', "stat -c '%U:%G %a' /etc/nixos/configuration.nix", 'root:root 644'),
  ],
});
