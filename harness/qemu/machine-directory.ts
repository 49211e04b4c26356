import { tmpdir } from 'node:os';
import { makePrivateDirectory, type PrivateDirectory } from '../../lib/host-files/private-output.ts';

/** Creates a private directory for a machine's sockets and overlay. The path is short because a socket address has at most 108 bytes, and
 *  has no comma, which would separate two options of swtpm.
 *  @see unix(7) */
export function makeMachineDirectory(): Promise<PrivateDirectory> {
  return makePrivateDirectory(tmpdir().length < 60 && !tmpdir().includes(',') ? tmpdir() : '/tmp');
}
