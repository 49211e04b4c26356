/** Errors of system calls, as Node throws them. */

export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** Describes a system error in words. */
export function wordsFor(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? `${error.code}` : '';
  return WORDS[code] ?? (error instanceof Error ? error.message : String(error));
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is not a directory',
  EISDIR: 'it is a directory',
  EEXIST: 'it exists already',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'its filesystem is read-only',
  ENAMETOOLONG: 'its name is too long',
  ELOOP: 'its symbolic links form a loop',
  EMFILE: 'this process has too many open files',
  ENOSPC: 'no space is left',
  EIO: 'its disk cannot be read or written (I/O error)',
};
