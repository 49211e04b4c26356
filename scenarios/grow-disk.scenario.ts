import { AssertionFailedError } from '../harness/errors.ts';
import type { BootCheck } from '../harness/verify/checks.ts';
import { GIB } from '../lib/units.ts';
import { scenario } from './scenario.ts';

/** Grows the partition to the end of the disk, then the mounted filesystem to the end of the partition. */
const growRoot: BootCheck = {
  name: 'the root filesystem grows to the size of the disk',
  async run(machine) {
    const sizeKiB = async (): Promise<number> => Number((await machine.succeed('df -k / | tail -n 1')).split(/\s+/)[1]);
    const before = await sizeKiB();
    await machine.succeed('echo ", +" | sfdisk --force --no-reread -N 1 /dev/vda && partx --update --nr 1 /dev/vda');
    await machine.succeed('resize2fs /dev/vda1');
    const after = await sizeKiB();
    if (before > 1024 ** 2 || after < 1.8 * 1024 ** 2)
      throw new AssertionFailedError(
        `the root filesystem: expected to grow to 2 GiB, found ${before} KiB before and ${after} KiB after`,
      );
    return `${before} KiB before, ${after} KiB after`;
  },
};

scenario('resize2fs in the guest grows the root to a larger disk', {
  system: 'demo-grub-bios',
  image: { partitionTableType: 'legacy' },
  boots: ['bios'],
  inside: [growRoot],
  machine: { diskBytes: 2 * GIB },
});

scenario('a minimized root has room for the first boot, and grows', {
  system: 'demo-grub-bios',
  image: { partitionTableType: 'legacy', minimize: true, additionalSpace: undefined },
  boots: ['bios'],
  inside: [growRoot],
  machine: { diskBytes: 2 * GIB },
  withoutVm: true,
});
