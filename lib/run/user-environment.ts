import { statSync } from 'node:fs';
import { userInfo } from 'node:os';

const NOWHERE = '/nonexistent';

/** What programs ask of passwd(5), for a user who has no entry there, as in a container that runs under any number: Nix fails
 *  without a name, and without a home that is the user's own. Nothing is to be written to that home. */
export function userEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  try {
    userInfo();
    return {};
  } catch {
    const { HOME: home = '', USER: user = '', LOGNAME: login = '' } = environment;
    return {
      ...(home === '' || isOfAnother(home) ? { HOME: NOWHERE } : {}),
      ...(user === '' ? { USER: login === '' ? 'builder' : login } : {}),
    };
  }
}

function isOfAnother(directory: string): boolean {
  try {
    return statSync(directory).uid !== process.getuid?.();
  } catch {
    // One that is not there is nobody's.
    return false;
  }
}
