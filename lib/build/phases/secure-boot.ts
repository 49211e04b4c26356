import { join } from 'node:path';
import { enrollSecureBootKeys } from '../../steps/enroll-secure-boot-keys.ts';
import { extractFilesystem } from '../../steps/extract-filesystem.ts';
import { fillBootFilesystem } from '../../steps/fill-boot-filesystem.ts';
import { makeBootFilesystem } from '../../steps/make-boot-filesystem.ts';
import { prepareKeyEnrollment } from '../../steps/prepare-key-enrollment.ts';
import { signBootFiles } from '../../steps/sign-boot-files.ts';
import type { BuildContext } from '../context.ts';
import type { Job } from '../job.ts';
import type { SecureBootPlan } from '../secure-boot.ts';
import { volumeIdOf } from './partitions.ts';

/** Signs what the boot loader's installer left on the boot partitions, whichever way it ran: the files are taken out, signed, and
 *  laid out again. */
export async function signBootPartitions(
  job: Pick<Job, 'spec' | 'disk' | 'timestamp' | 'partitions'>,
  secureBoot: SecureBootPlan,
  image: string,
  work: string,
  context: BuildContext,
): Promise<void> {
  const {
    disk: { esp, xbootldr },
    timestamp,
  } = job;
  if (esp === undefined) return;
  const partitions = [esp, ...(xbootldr === undefined ? [] : [xbootldr])];
  const directoryOf = ({ number }: { readonly number: number }): string => join(work, `signed-${number}`);
  for (const partition of partitions)
    await extractFilesystem({ image, partition, fsType: 'vfat', directory: directoryOf(partition) }, context);
  const { key, certificate, way, stub, enroll, owner } = secureBoot;
  await signBootFiles(
    {
      ...{ esp: directoryOf(esp), xbootldr: xbootldr && directoryOf(xbootldr) },
      ...{ key, certificate, way, stub, timestamp },
    },
    context,
  );
  if (enroll === 'first-boot') {
    const own = { key, certificate };
    const { platformKey = own, keyExchangeKey = platformKey } = secureBoot;
    await prepareKeyEnrollment(
      { directory: directoryOf(esp), platformKey, keyExchangeKey, db: own, owner, timestamp },
      context,
    );
  }
  for (const partition of partitions) {
    const { label, number } = partition;
    if (label === undefined) continue;
    const volumeId = volumeIdOf(job, number);
    await makeBootFilesystem({ image, partition, label, volumeId, timestamp }, context);
    await fillBootFilesystem({ image, partition, populateFrom: directoryOf(partition), timestamp }, context);
  }
}

/** Puts the keys into the store of EFI variables that goes with the image. */
export async function enrollInVariables(
  { certificate, platformKey, keyExchangeKey, owner }: SecureBootPlan,
  variables: string,
  context: BuildContext,
): Promise<void> {
  const pk = platformKey?.certificate ?? certificate;
  await enrollSecureBootKeys(
    {
      ...{ variables, target: variables, platformKey: pk, db: [certificate], owner },
      keyExchangeKeys: [keyExchangeKey?.certificate ?? pk],
    },
    context,
  );
}
