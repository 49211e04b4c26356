import { tmpdir } from 'node:os';
import { makePrivateDirectory, type PrivateDirectory } from '../../lib/host-files/private-output.ts';

/** A private directory for a machine's sockets and overlay. Its path is short: a socket's address has 108 bytes.
 *  @see unix(7) */
export function makeMachineDirectory(): Promise<PrivateDirectory> {
  return makePrivateDirectory(tmpdir().length < 60 ? tmpdir() : '/tmp');
}
