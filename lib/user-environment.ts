import { userInfo } from 'node:os';

/** What programs ask of passwd(5), for a user who has no entry there, as in a container that runs under any number: Nix fails
 *  without a name and a home. Nothing is to be written to that home. What is set stays. */
export function userEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  try {
    userInfo();
    return {};
  } catch {
    const { HOME = '', USER = '', LOGNAME = '' } = environment;
    return {
      ...(HOME === '' ? { HOME: '/nonexistent' } : {}),
      ...(USER === '' ? { USER: LOGNAME === '' ? 'builder' : LOGNAME } : {}),
    };
  }
}
