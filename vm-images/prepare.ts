import { chooseAccelerator } from '../harness/builder/accelerator.ts';
import { builderInitrd } from '../harness/builder/builder-initrd.ts';
import { distributionKernel } from '../harness/builder/builder-kernel.ts';
import { cacheDirectory } from '../harness/cache-directory.ts';
import { prepareDemo } from './demo.ts';

/** Makes everything the machines boot into the cache: the builder VM's kernel and initrd, the demo systems. What is
 *  there already costs nothing. */

const say = (line: string): void => console.log(`prepare: ${line}`);

say(`cache directory ${cacheDirectory()}`);
const kernel = await distributionKernel();
say(`builder kernel ${kernel.kernel}`);
say(`builder initrd ${await builderInitrd(kernel)}`);
const { accelerator, reason } = await chooseAccelerator();
say(`accelerator ${accelerator}: ${reason}`);
const { systems } = await prepareDemo(say);
say(`${Object.keys(systems).length} demo systems`);
