import { posix } from 'node:path';
import { parse } from 'shell-quote';

/** A file that an installer's script copies. */
export interface CopiedFile {
  /** `/dev/null` for an empty file. */
  readonly source: string;
  /** The path in the installed system, absolute and normalized. */
  readonly target: string;
}

/** Parses a script that NixOS generates from an option such as `extraFiles`: lines of `install -D` and `cp` with
 *  literal arguments.
 *  @returns the copies, and all other lines, which are the user's own commands.
 *  @see nixos/modules/system/boot/loader/grub/grub.nix, systemd-boot/systemd-boot.nix */
export function parseCopies(script: string): { readonly copies: CopiedFile[]; readonly others: string[] } {
  const copies: CopiedFile[] = [];
  const others: string[] = [];
  for (const line of script.split('\n').map((text) => text.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const copy = parseCopy(line);
    if (copy === undefined) others.push(line);
    else copies.push(copy);
  }
  return { copies, others };
}

function parseCopy(line: string): CopiedFile | undefined {
  const [program = '', ...rest] = plainWords(line) ?? [];
  if (!/^\/nix\/store\/[^/]+\/bin\/(install|cp)$/.test(program)) return undefined;
  const flags = rest.filter((word) => word.startsWith('-'));
  const [source, target, ...more] = rest.filter((word) => !word.startsWith('-'));
  const known = program.endsWith('/cp') ? ['-pf'] : ['-D', '-Dp'];
  if (source === undefined || target === undefined || more.length > 0) return undefined;
  if (!flags.every((flag) => known.includes(flag)) || !source.startsWith('/')) return undefined;
  return { source, target: posix.normalize(posix.join('/', target)) };
}

/** The words of a line that needs only quote removal from the shell; undefined for any other line. */
function plainWords(line: string): string[] | undefined {
  // The values of variables and substitutions are unknown.
  if (/[$`]/.test(line)) return undefined;
  const words = parse(line);
  return words.every((word) => typeof word === 'string') ? (words as string[]) : undefined;
}
