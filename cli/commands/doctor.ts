import { Option } from 'commander';
import type { Declaration } from './declare.ts';

export const doctor: Declaration = {
  name: 'doctor',
  description: 'List the programs this needs, their versions and what is missing, the firmware, and whether KVM works.',
  options: [new Option('--json', 'print the result as JSON')],
  exitStatus: '0 when nothing needed is missing, else 3',
  run: async ({ flags }) => (await import('../doctor.ts')).doctorCommand(flags),
};
