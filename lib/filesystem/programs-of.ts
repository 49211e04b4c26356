import { PACKERS } from './packed-filesystem.ts';
import { TOOLS_OF } from './root-filesystem.ts';

/** The programs that make each type of filesystem for the files of a Linux system. */
export const PROGRAMS_OF: Readonly<Record<string, readonly string[]>> = { ...TOOLS_OF, ...PACKERS };

/** Whether a filesystem is filled from a directory that is put together in namespaces. */
export function needsNamespaces(type: string): boolean {
  return PROGRAMS_OF[type]?.includes('unshare') === true;
}
