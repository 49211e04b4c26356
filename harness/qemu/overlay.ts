import type { DiskImageFacts } from '../../lib/programs/disk-image-format.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { HarnessError } from '../errors.ts';

/** Makes an empty qcow2.
 *  @param over the image that it names as what is below; default: none, and the machine's command line says it.
 *  @throws {HarnessError}. Runs: qemu-img. */
export async function createOverlay(
  file: string,
  sizeBytes: number,
  over?: Pick<DiskImageFacts, 'file' | 'format'>,
): Promise<void> {
  const backing = over === undefined ? [] : ['-b', over.file, '-F', over.format];
  const argv = ['qemu-img', 'create', '-q', '-f', 'qcow2', ...backing, file, `${sizeBytes}`];
  const { exitCode, stderr } = await localExecutor.run(argv);
  if (exitCode !== 0) throw new HarnessError('qemu-img create failed', { detail: stderr.toString('utf8') });
}
