import { expect, test } from 'vitest';
import { AssertionFailedError } from '../harness/errors.ts';
import type { BootCheck } from '../harness/verify/checks.ts';
import { bootScenario, buildScenario, type Scenario } from './scenario.ts';

/** Checks that the firmware started the boot entry from the variables, not a loader that it found by itself. */
const startedBy = (label: string): BootCheck => ({
  name: 'boot entry',
  async run(machine) {
    const [line] = /BdsDxe: starting Boot[^\n]*/.exec(machine.console.text) ?? [];
    if (line?.includes(`Boot0000 "${label}" from HD(1,GPT`) !== true)
      throw new AssertionFailedError(`the firmware should start Boot0000 "${label}" but printed: ${line}`);
    return line;
  },
});

test.each<[string, string, Scenario]>([
  [
    'systemd-boot, with the builder VM',
    'Linux Boot Manager',
    { system: 'demo-systemd-boot', image: { partitionTableType: 'efi' }, boots: ['efi'] },
  ],
  [
    'GRUB, without a VM',
    'NixOS',
    {
      system: 'tiny-grub-hybrid',
      image: { partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
      boots: ['efi'],
    },
  ],
])('touchEFIVars: the firmware starts the entry in the variables file beside the image: %s', async (_, label, description) => {
  const image = await buildScenario({ ...description, image: { ...description.image, touchEFIVars: true } });
  expect(image.built.efiVariables).toMatch(/\/efi-vars\.fd$/);
  const machine = { efiVariables: image.built.efiVariables };
  await bootScenario(image, { ...description, machine, inside: [startedBy(label)] }, 'efi');
});
