import { chooseAccelerator } from '../harness/builder/accelerator.ts';
import { builderInitrd } from '../harness/builder/builder-initrd.ts';
import { distributionKernel } from '../harness/builder/builder-kernel.ts';
import { cacheDirectory } from '../harness/cache-directory.ts';
import { prepareDemo } from './demo.ts';

/** Builds everything that the machines boot into the cache, unless it exists: the builder VM's kernel and initrd, and
 *  the demo systems. */

const say = (line: string): void => console.log(`prepare: ${line}`);

say(`cache directory ${cacheDirectory()}`);
const kernel = await distributionKernel();
say(`builder kernel ${kernel.kernel}`);
say(`builder initrd ${await builderInitrd(kernel)}`);
const { accelerator, reason } = await chooseAccelerator();
say(`accelerator ${accelerator}: ${reason}`);
const { systems } = await prepareDemo(say);
say(`${Object.keys(systems).length} demo systems`);
