import type { StepContext } from '../../run/step.ts';
import { type EncryptedPartition, encryptPartition } from '../../steps/encrypt-partition.ts';
import type { EncryptionPlan } from '../encryption.ts';
import type { Job } from '../job.ts';

/** Encrypts the finished root filesystem. */
export async function encryptRoot(
  { disk }: Pick<Job, 'disk'>,
  { name: _name, why: _why, ...options }: EncryptionPlan,
  image: string,
  context: StepContext,
): Promise<EncryptedPartition> {
  return encryptPartition({ image, partition: disk.root, ...options }, context);
}
