import { statSync } from 'node:fs';
import { userInfo } from 'node:os';

const NOWHERE = '/nonexistent';

/** HOME and USER for a user ID without an entry in passwd(5), as in a container that runs as an arbitrary user: Nix
 *  fails without a user name, and with a home directory that another user owns. Nothing should be written to that home
 *  directory. */
export function userEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  try {
    userInfo();
    return {};
  } catch {
    const { HOME: home = '', USER: user = '', LOGNAME: login = '' } = environment;
    return {
      ...(home === '' || isOwnedByAnother(home) ? { HOME: NOWHERE } : {}),
      ...(user === '' ? { USER: login === '' ? 'builder' : login } : {}),
    };
  }
}

function isOwnedByAnother(directory: string): boolean {
  try {
    return statSync(directory).uid !== process.getuid?.();
  } catch {
    // It does not exist.
    return false;
  }
}
