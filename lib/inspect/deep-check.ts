import type { Extent } from '../formats/extent.ts';
import type { StepRunner } from '../run/step.ts';
import { askProgram } from './ask-program.ts';
import type { Budget } from './budget.ts';
import { type Finding, finding } from './finding.ts';
import { type ImageReader, LARGEST_COPY } from './image-reader.ts';
import type { InspectedPartition } from './inspected-partition.ts';

/** A filesystem checker, run without repairing. */
interface Checker {
  readonly argv: readonly string[];
  /** Exit statuses that its manual page documents. */
  readonly sound: readonly number[];
  readonly damaged: readonly number[];
  /** Lines of output that do not report damage. */
  readonly chatter: RegExp;
}

const E2FSCK: Checker = {
  // -f checks filesystems that are marked as clean, too. Status 8, an operational error, includes an unusable
  // superblock.
  argv: ['e2fsck', '-f', '-n'],
  sound: [0],
  damaged: [4, 8, 12],
  chatter: /^e2fsck |^Pass \d|^Warning! |^\s*$|: \d+\/\d+ files|\*\*\*\*\* WARNING|^\S+: clean/,
};

/** Checkers by blkid's name for the filesystem. @see e2fsck(8), fsck.fat(8), btrfs-check(8), xfs_repair(8),
 *  fsck.erofs(1), fsck.f2fs(8) */
const CHECKERS: Readonly<Record<string, Checker>> = {
  ext2: E2FSCK,
  ext3: E2FSCK,
  ext4: E2FSCK,
  vfat: {
    argv: ['fsck.vfat', '-n'],
    sound: [0],
    damaged: [1],
    chatter: /^fsck\.fat |^\s*$|files, \d+\/\d+ clusters|^Leaving filesystem unchanged/,
  },
  btrfs: {
    argv: ['btrfs', 'check', '--readonly'],
    sound: [0],
    damaged: [1],
    chatter:
      /^\[\d|^Opening filesystem|^Checking filesystem|^UUID: |^\s*$|^(?:found|total|file data|referenced|btree) /,
  },
  xfs: {
    argv: ['xfs_repair', '-n', '-f'],
    sound: [0],
    damaged: [1],
    chatter: /^Phase \d|^\s*- |^\s*$|^No modify flag/,
  },
  erofs: {
    // With --extract, all data are read.
    argv: ['fsck.erofs', '--extract'],
    sound: [0],
    damaged: [1],
    chatter: /^\s*$|^<I>|^No errors/,
  },
  f2fs: {
    argv: ['fsck.f2fs', '--dry-run'],
    sound: [0],
    damaged: [1, 255],
    chatter: /^Info: |^\s*$|^\[FSCK\].*\[Ok/,
  },
};

const SHOWN_LINES = 3;

/** Runs the checker of each filesystem on a copy, and reports damage with the checker's output.
 *  Runs: e2fsck, fsck.vfat, btrfs, xfs_repair, fsck.erofs, fsck.f2fs; and qemu-img, which makes the copy. */
export async function checkFilesystems(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  places: readonly Pick<InspectedPartition, 'number' | 'offsetBytes' | 'sizeBytes' | 'filesystem'>[],
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const place of places) {
    const { number, offsetBytes, filesystem } = place;
    const checker = filesystem === undefined ? undefined : CHECKERS[filesystem.type];
    const what = `the ${filesystem?.type} of partition ${number}`;
    if (filesystem?.type === 'squashfs') budget.leaveOut(`the check of ${what}: no program checks one`);
    if (checker === undefined) continue;
    const sizeBytes = Math.min(place.sizeBytes, image.virtualBytes - offsetBytes);
    if (sizeBytes > LARGEST_COPY) {
      budget.leaveOut(`the check of ${what}: it is too large to copy`);
      continue;
    }
    const found = await budget.part(`the check of ${what}`, [], () =>
      check(step, budget, image, checker, { what, offsetBytes, sizeBytes }),
    );
    findings.push(...found);
  }
  return findings;
}

async function check(
  step: StepRunner,
  budget: Budget,
  image: ImageReader,
  checker: Checker,
  { what, offsetBytes, sizeBytes }: Extent & { readonly what: string },
): Promise<Finding[]> {
  const file = await image.asFile(offsetBytes, sizeBytes);
  const [program] = checker.argv;
  const { exitCode, stdout, stderr } = await askProgram(step, budget, [...checker.argv, file], {
    answers: [...checker.sound, ...checker.damaged],
    maxBytes: 1024 * 1024,
    what: `cannot check ${what}`,
  });
  if (exitCode !== undefined && checker.sound.includes(exitCode)) return [];
  const lines = `${stdout.toString('utf8')}\n${stderr}`
    .replaceAll(file, 'the filesystem')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !checker.chatter.test(line));
  const said = lines.slice(0, SHOWN_LINES).join('; ');
  const more = lines.length > SHOWN_LINES ? ` … (${lines.length} lines)` : '';
  return [
    finding('filesystem-damaged', 'fatal', 'stage 1', `${program} finds damage in ${what}: ${said}${more}`, undefined),
  ];
}
