import { open } from 'node:fs/promises';

/** Makes a file of zeros that only this user can read, as a hole. It must not exist. */
export async function makeSparseFile(file: string, sizeBytes: number): Promise<void> {
  await using handle = await open(file, 'wx', 0o600);
  await handle.truncate(sizeBytes);
}
