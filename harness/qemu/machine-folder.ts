import { tmpdir } from 'node:os';
import { makePrivateFolder, type PrivateFolder } from '../../lib/host-files/private-output.ts';

/** A private folder for a machine's sockets and overlay. Its path is short: a socket's address has 108 bytes.
 *  @see unix(7) */
export function makeMachineFolder(): Promise<PrivateFolder> {
  return makePrivateFolder(tmpdir().length < 60 ? tmpdir() : '/tmp');
}
