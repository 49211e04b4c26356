import { readFileSync } from 'node:fs';
import { packageFile } from '../harness/cache-directory.ts';
import { equalCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

const file = packageFile('vm-images/demo/default.nix');
const [firstLine = ''] = readFileSync(file, 'utf8').split('\n');

scenario('configFile becomes /etc/nixos/configuration.nix', {
  system: 'tiny-systemd-boot',
  image: { partitionTableType: 'efi', configFile: file },
  boots: ['efi'],
  inside: [
    equalCheck('the first line', 'head -n 1 /etc/nixos/configuration.nix', firstLine),
    equalCheck('the owner and mode', "stat -c '%U:%G %a' /etc/nixos/configuration.nix", 'root:root 644'),
  ],
});
