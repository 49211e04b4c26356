import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BootReport } from '../../../harness/verify/boot-report.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import type { BuiltImage } from '../../../lib/build-image.ts';
import { removeTree } from '../../../lib/private-output.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { run } from '../../helpers/run.ts';
import { BrokenImage } from './broken-image.ts';
import type { Fault } from './faults.ts';

const BASES: Readonly<Record<Fault['base'], Parameters<typeof demoImage>>> = {
  legacy: ['tiny-grub-bios', { partitionTableType: 'legacy' }],
  hybrid: ['tiny-grub-hybrid', { partitionTableType: 'hybrid' }],
  'systemd-boot': ['tiny-systemd-boot', { partitionTableType: 'efi' }],
};

/** Good images, and a way to boot copies of them that are broken in one way. */
export interface Gallery extends AsyncDisposable {
  image(base: Fault['base']): string;
  boot(fault: Fault): Promise<BootReport>;
}

export async function openGallery(): Promise<Gallery> {
  const folder = await mkdtemp(join(tmpdir(), 'ndi-gallery-'));
  const images = new Map<Fault['base'], BuiltImage>();
  for (const base of Object.keys(BASES) as Fault['base'][]) {
    const [system, options] = BASES[base];
    const way = { bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0, bootSize: '64M' } as const;
    images.set(base, await demoImage(system, { ...options, ...way }));
  }
  const good = (base: Fault['base']): BuiltImage => {
    const image = images.get(base);
    if (image === undefined) throw new Error(`there is no ${base}`);
    return image;
  };
  return {
    image: (base) => good(base).image,
    async boot({ base, firmware, machine, breakIt }) {
      const { image: whole, disk, system } = good(base);
      const image = join(await mkdtemp(join(folder, 'fault-')), 'broken.img');
      await run(['cp', '--sparse=always', whole, image]);
      await breakIt(new BrokenImage(image, disk, system.toplevel));
      return verifyBoot({ image, firmware, ...machine });
    },
    [Symbol.asyncDispose]: () => removeTree(folder),
  };
}
