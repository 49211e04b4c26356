import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BootReport } from '../../../harness/verify/boot-report.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { removeTree } from '../../../lib/host-files/private-output.ts';
import { type BaseName, Bases, copySparse } from './bases/bases.ts';
import { BrokenImage } from './broken-image.ts';
import type { Fault } from './fault.ts';

/** Good images, and a function that boots broken copies of them. */
export interface Gallery extends AsyncDisposable {
  /** A good image; do not write to it. */
  image(base: BaseName): Promise<string>;
  /** A broken copy. */
  broken(fault: Pick<Fault, 'base' | 'breakIt'>): Promise<string>;
  boot(fault: Pick<Fault, 'base' | 'firmware' | 'breakIt' | 'machine'>): Promise<BootReport>;
}

export async function openGallery(): Promise<Gallery> {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-gallery-'));
  const bases = new Bases(directory);
  const broken: Gallery['broken'] = async ({ base, breakIt }) => {
    const { image: whole, disk, toplevel } = await bases.get(base);
    const image = join(await mkdtemp(join(directory, 'fault-')), 'broken.img');
    await copySparse(whole, image);
    await breakIt(new BrokenImage(image, disk, toplevel));
    return image;
  };
  return {
    image: async (base) => (await bases.get(base)).image,
    broken,
    async boot(fault) {
      const image = await broken(fault);
      const report = await verifyBoot({ image, firmware: fault.firmware, ...fault.machine });
      await removeTree(join(image, '..'));
      return report;
    },
    [Symbol.asyncDispose]: () => removeTree(directory),
  };
}
