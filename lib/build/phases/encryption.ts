import { constants, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StepContext } from '../../run/step.ts';
import { type EncryptedPartition, encryptPartition } from '../../steps/encrypt-partition.ts';
import type { EncryptionPlan } from '../encryption.ts';
import type { Job } from '../job.ts';

/** Encrypts the finished root filesystem. */
export async function encryptRoot(
  { disk }: Pick<Job, 'disk'>,
  { name: _name, why: _why, ...options }: EncryptionPlan,
  image: string,
  work: string,
  context: StepContext,
): Promise<EncryptedPartition> {
  const recoveryKeyFile = options.recoveryKeyFile === undefined ? undefined : join(work, RECOVERY_KEY);
  return encryptPartition({ image, partition: disk.root, ...options, recoveryKeyFile }, context);
}

const RECOVERY_KEY = 'recovery-key';

/** Puts the recovery key where it was asked for: only when the image is finished, because without it the key opens nothing. */
export async function publishRecoveryKey({ recoveryKeyFile }: EncryptionPlan, work: string): Promise<void> {
  if (recoveryKeyFile !== undefined) await copyFile(join(work, RECOVERY_KEY), recoveryKeyFile, constants.COPYFILE_EXCL);
}
