import { commandCheck } from '../harness/verify/checks.ts';
import { scenario } from './scenario.ts';

scenario('aarch64: built without running any aarch64 program, and boots to a login', {
  architecture: 'aarch64',
  system: 'tiny-systemd-boot',
  image: { partitionTableType: 'efi' },
  withoutVm: true,
  boots: ['efi'],
  inside: [commandCheck('uname -m | grep -qx aarch64'), commandCheck('grep -q ttyAMA0 /proc/cmdline')],
});
