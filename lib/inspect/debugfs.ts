import { basename, dirname } from 'node:path';
import { ToolFailedError } from '../run/errors.ts';
import type { StepRunner } from '../run/step.ts';
import { MIB } from '../units.ts';
import { askProgram } from './ask-program.ts';
import type { Budget } from './budget.ts';
import type { RawPlace } from './image-reader.ts';

/** What debugfs answers to each of its requests; `refused` when it cannot open the filesystem. */
export interface DebugfsAnswers {
  readonly refused: string | undefined;
  readonly answers: readonly string[];
  /** It had more to say than is read: the last answers are missing, or cut. */
  readonly isCut: boolean;
}

const MOST_BYTES = 32 * MIB;
/** What it repeats of each request, in front of the answer. */
const ECHO = /^debugfs: .*\n/m;

/** Asks debugfs about an ext4 in a raw file. It exits with 0 whatever it finds, and says on its standard error what it could not
 *  do; so its echo of every request is what shows that it did its work.
 *  @param requests must hold nothing out of the image but numbers.
 *  @throws {ToolFailedError} when it was killed, or did not answer. Runs: debugfs. */
export async function askDebugfs(
  step: StepRunner,
  budget: Budget,
  place: RawPlace,
  requests: readonly string[],
): Promise<DebugfsAnswers> {
  const at = place.offsetBytes === 0 ? '' : `?offset=${place.offsetBytes}`;
  // A "?" in a directory's name would be taken for the start of the options.
  const isRelative = place.image.includes('?');
  const name = `${isRelative ? `./${basename(place.image)}` : place.image}${at}`;
  const argv = ['debugfs', '-f', '-', name];
  const { stdout, stderr, isCut } = await askProgram(step, budget, argv, {
    ...(isRelative ? { cwd: dirname(place.image) } : {}),
    answers: [0, 1],
    input: `${requests.join('\n')}\n`,
    // It prints times as people here have them.
    env: { TZ: 'UTC' },
    maxBytes: MOST_BYTES,
    what: 'cannot read the ext4',
  });
  const [, refused] = /^debugfs: (.* while trying to open .*|.* while reading .* bitmaps.*)$/m.exec(stderr) ?? [];
  const answers = stdout.toString('utf8').split(ECHO).slice(1);
  if (refused !== undefined) return { refused: refused.replace(/ while (?:trying|reading).*/, ''), answers: [], isCut };
  if (answers.length < requests.length && !isCut) {
    const outputTail = stderr.slice(-2000);
    throw new ToolFailedError(
      {
        step: step.step,
        argv,
        exitCode: 0,
        signal: undefined,
        outputTail,
        durationMs: 0,
        executor: step.executor.name,
      },
      { what: `debugfs answered ${answers.length} of ${requests.length} questions` },
    );
  }
  return { refused: undefined, answers, isCut };
}

/** What stands in an inode that is answered to `stat`; undefined when there was none. */
export interface InodeFacts {
  readonly type: string;
  readonly sizeBytes: number;
  /** Of a link of less than 60 bytes, which stands in the inode. */
  readonly target: string | undefined;
}

export function parseInode(answer: string): InodeFacts | undefined {
  const [, type] = /Type: (.+?) +Mode:/.exec(answer) ?? [];
  const [, size] = /Size: (\d+)/.exec(answer) ?? [];
  if (type === undefined) return undefined;
  const [, target] = /^Fast link dest: "(.*)"$/m.exec(answer) ?? [];
  return { type, sizeBytes: Number(size ?? 0), target };
}
