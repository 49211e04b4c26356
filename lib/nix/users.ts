import { z } from 'zod';
import { readInStore } from './store.ts';

/** The user and group IDs that a system declares, read without running its activation. */
export interface DeclaredIds {
  /** By name. A uid is undefined if the activation chooses it. */
  readonly users: ReadonlyMap<string, { readonly uid: number | undefined; readonly group: string | undefined }>;
  readonly groups: ReadonlyMap<string, number | undefined>;
  /** The files in which they were found, for messages. */
  readonly sources: readonly string[];
}

const usersGroups = z.object({
  users: z.array(z.object({ name: z.string(), uid: z.int().nullish(), group: z.string().nullish() })),
  groups: z.array(z.object({ name: z.string(), gid: z.int().nullish() })),
});

/** Reads the user and group IDs from the JSON file that NixOS passes to update-users-groups or userborn, the sysusers.d
 *  files of systemd-sysusers, and passwd and group in the system's etc. root is always 0.
 *  @see nixos/modules/config/users-groups.nix; sysusers.d(5) */
export async function declaredIds(store: string, toplevel: string): Promise<DeclaredIds> {
  const users = new Map<string, { uid: number | undefined; group: string | undefined }>();
  const groups = new Map<string, number | undefined>();
  const sources: string[] = [];
  const read = async (file: string): Promise<string | undefined> => {
    const text = await readInStore(store, file);
    if (text !== undefined) sources.push(file);
    return text;
  };

  const passwd = (await read(`${toplevel}/etc/passwd`)) ?? '';
  const group = (await read(`${toplevel}/etc/group`)) ?? '';
  const names = new Map<number, string>();
  for (const [name = '', , gid] of lines(group, ':')) {
    groups.set(name, number(gid));
    names.set(Number(gid), name);
  }
  for (const [name = '', , uid, gid] of lines(passwd, ':'))
    users.set(name, { uid: number(uid), group: names.get(Number(gid)) });

  for (const line of ((await read(`${toplevel}/etc/sysusers.d/00-nixos.conf`)) ?? '').split('\n')) {
    const [type, name = '', id = '-'] = line.trim().split(/\s+/);
    const [uid, gid] = id.split(':');
    if (type === 'g') groups.set(name, number(id));
    if (type !== 'u' && type !== 'u!') continue;
    users.set(name, { uid: number(uid), group: gid === undefined || /^\d+$/.test(gid) ? name : gid });
    if (gid === undefined && !groups.has(name)) groups.set(name, number(uid));
  }

  const named = await declaration(store, toplevel);
  const declared = named === undefined ? undefined : usersGroups.safeParse(parseJson(await read(named)));
  if (declared?.success === true) {
    for (const { name, gid } of declared.data.groups) groups.set(name, gid ?? undefined);
    for (const { name, uid, group: primary } of declared.data.users)
      users.set(name, { uid: uid ?? undefined, group: primary ?? undefined });
  }
  users.set('root', { uid: 0, group: 'root' });
  groups.set('root', 0);
  return { users, groups, sources };
}

/** The files that may name the users' JSON file: the activation script, and the userborn service. */
const MAKERS = ['activate', 'etc/systemd/system/userborn.service'];

/** The JSON file of users that is passed to the program that creates them. @see
 *  nixos/modules/services/system/userborn.nix */
async function declaration(store: string, toplevel: string): Promise<string | undefined> {
  for (const maker of MAKERS) {
    const text = (await readInStore(store, `${toplevel}/${maker}`)) ?? '';
    const named = /\/nix\/store\/[^\s"']*-(?:users-groups|userborn)\.json/.exec(text)?.[0];
    if (named !== undefined) return named;
  }
  return undefined;
}

function* lines(text: string, separator: string): Generator<string[]> {
  for (const line of text.split('\n')) if (line !== '' && !line.startsWith('#')) yield line.split(separator);
}

function number(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
