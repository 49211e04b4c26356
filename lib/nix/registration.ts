import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UnexpectedStateError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { storeUri } from './store.ts';

/** The record of a store path in a Nix database, as in `nix-store --dump-db` and closureInfo's `registration`. */
export interface Registration {
  /** `/nix/store/…` */
  readonly path: string;
  /** Of its NAR: sha256, in base 16. */
  readonly hash: string;
  readonly narSize: string;
  /** The derivation it was built from, or ''. */
  readonly deriver: string;
  readonly references: readonly string[];
}

/** Parses records of lines: path, hash, size, deriver, number of references, each reference.
 *  @throws {UnexpectedStateError} @see nix-store(1) --load-db */
export function parseRegistrations(step: string, text: string): Registration[] {
  const lines = text.split('\n');
  const records: Registration[] = [];
  let at = 0;
  const next = (): string => {
    const line = lines[at];
    at += 1;
    if (line === undefined) throw malformed(step, at, 'the end of the text');
    return line;
  };
  while (at < lines.length && lines[at] !== '') {
    const path = next();
    const [hash, narSize, deriver, count] = [next(), next(), next(), next()];
    if (!path.startsWith('/') || !/^\d+$/.test(narSize) || !/^\d+$/.test(count))
      throw malformed(step, at, JSON.stringify(path));
    records.push({ path, hash, narSize, deriver, references: Array.from({ length: Number(count) }, next) });
  }
  return records;
}

function malformed(step: string, line: number, found: string): UnexpectedStateError {
  return new UnexpectedStateError(step, `the registration of the closure is malformed near line ${line}`, {
    expected: 'path, hash, size, deriver, number of references and references, each on a separate line',
    found,
  });
}

/** Formats records, sorted by path, as input for `nix-store --load-db`. */
export function formatRegistrations(records: readonly Registration[]): string {
  return [...records]
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map(({ path, hash, narSize, deriver, references }) =>
      [path, hash, narSize, deriver, `${references.length}`, ...[...references].sort(), ''].join('\n'),
    )
    .join('');
}

/** Queries the records of the closure of store paths, in a store of this host.
 *  Runs: nix-store, or sqlite3 for a private store that this user cannot write to. */
export async function queryRegistrations(
  step: StepRunner,
  store: string | undefined,
  storePaths: readonly string[],
): Promise<Registration[]> {
  if (store !== undefined && !(await isWritable(join(store, DATABASE_DIRECTORY))))
    return queryDatabase(step, join(store, DATABASE_DIRECTORY, 'db.sqlite'), storePaths);
  const from = store === undefined ? [] : ['--store', storeUri(store)];
  const closure = await runNix(step, ['nix-store', ...from, '--query', '--requisites', ...storePaths], {
    what: `cannot query the closure of ${storePaths[0]}`,
  });
  const paths = closure.split('\n').filter((line) => line !== '');
  const dumped = await runNix(step, ['nix-store', ...from, '--dump-db', ...paths], {
    what: 'cannot read the registration of the closure',
  });
  return parseRegistrations(step.step, dumped);
}

const DATABASE_DIRECTORY = 'nix/var/nix/db';

/** Whether Nix can open the database in a directory: it opens it for writing, even for queries. */
async function isWritable(directory: string): Promise<boolean> {
  return access(directory, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Queries the records directly in the database file, which only needs to be readable. @see Nix's schema.sql, version
 *  10 */
async function queryDatabase(
  step: StepRunner,
  database: string,
  storePaths: readonly string[],
): Promise<Registration[]> {
  // Store paths contain no character that is special in an SQL string.
  const wanted = storePaths.map((storePath) => `'${storePath}'`).join(', ');
  const query = `
    WITH RECURSIVE closure(id) AS (
      SELECT id FROM ValidPaths WHERE path IN (${wanted})
      UNION SELECT reference FROM Refs JOIN closure ON referrer = closure.id
    )
    SELECT path, hash, narSize, coalesce(deriver, '') AS deriver, (
      SELECT group_concat(target.path, ' ') FROM Refs JOIN ValidPaths AS target ON target.id = reference WHERE referrer = ValidPaths.id
    ) AS refs
    FROM ValidPaths WHERE id IN closure ORDER BY path;`;
  const { stdout } = await step.run(
    // Without immutable=1, SQLite would write files beside a database in WAL mode.
    [
      'sqlite3',
      '-batch',
      '-bail',
      '-json',
      `file:${encodeURI(database).replaceAll('?', '%3f').replaceAll('#', '%23')}?immutable=1`,
      query,
    ],
    { what: `cannot read the Nix database ${database}` },
  );
  const rows = databaseRows.parse(JSON.parse(stdout.toString('utf8') || '[]'));
  const found = new Set(rows.map(({ path }) => path));
  const missing = storePaths.find((storePath) => !found.has(storePath));
  if (missing !== undefined) throw new UnexpectedStateError(step.step, `${missing} is not registered in ${database}`);
  return rows.map(({ path, hash, narSize, deriver, refs }) => ({
    path,
    hash: hash.replace(/^sha256:/, ''),
    narSize: `${narSize}`,
    deriver,
    references: refs?.split(' ') ?? [],
  }));
}

const databaseRows = z.array(
  z.object({
    path: z.string(),
    hash: z.string(),
    narSize: z.int(),
    deriver: z.string(),
    refs: z.string().nullable(),
  }),
);

/** Creates the Nix database of the store in `root`, or adds records to it. The store paths themselves need not exist.
 *  Runs: nix-store. */
export async function loadRegistrations(
  step: StepRunner,
  root: string,
  records: readonly Registration[],
): Promise<void> {
  await runNix(step, ['nix-store', '--store', storeUri(root), '--load-db'], {
    what: 'cannot register the closure',
    input: formatRegistrations(records),
  });
}

/** Runs one of Nix's programs, overriding settings of the user's nix.conf that do not apply: substituters, and a group
 *  of build users that does not exist in the root. */
export async function runNix(
  step: StepRunner,
  argv: readonly string[],
  options: { readonly what?: string; readonly input?: string } = {},
): Promise<string> {
  const { stdout } = await step.run(argv, {
    ...options,
    env: {
      NIX_CONFIG: 'substituters =\nbuild-users-group =\ngc-reserved-space = 0\nexperimental-features = nix-command\n',
      NIX_REMOTE: process.env.NIX_REMOTE ?? '',
    },
  });
  return stdout.toString('utf8');
}
