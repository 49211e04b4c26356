import { mkdir } from 'node:fs/promises';
import type { ContainerExecutor } from '../harness/builder/container-executor.ts';
import { type BuildImageOptions, buildImage } from '../lib/build/build-image.ts';
import { planBuild } from '../lib/build/plan.ts';
import { needsNamespaces } from '../lib/filesystem/programs-of.ts';
import { InvalidOptionsError, type OptionIssue } from '../lib/run/errors.ts';
import { readDisko } from '../lib/spec/disko.ts';
import { type ImageSpecInput, parseImageSpec } from '../lib/spec/image-spec.ts';
import { readRepart } from '../lib/spec/repart.ts';
import { formatBytes, formatDuration } from '../lib/units.ts';
import { containerDirectories } from './container-directories.ts';
import { EXIT } from './exit-codes.ts';
import { Progress, shownBy } from './progress.ts';
import { readSpecification } from './specification.ts';

interface BuildFlags {
  readonly out: string;
  readonly verify?: boolean;
  readonly explain?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  readonly container?: string;
  readonly repart?: string;
  readonly disko?: string;
  readonly seed?: string;
}

/** @param overriding options of the specification that were given as flags. */
export async function buildCommand(
  file: string | undefined,
  overriding: Record<string, unknown>,
  flags: BuildFlags,
  signal: AbortSignal,
): Promise<number> {
  const read = file === undefined ? undefined : await readSpecification(file);
  const specification = {
    ...read?.options,
    ...overriding,
    ...(await partitionsOf(flags, { ...read?.options, ...overriding })),
  };
  try {
    return await build(specification, flags, signal);
  } catch (error) {
    if (read === undefined || !(error instanceof InvalidOptionsError)) throw error;
    // What a flag said stands in no file.
    const locate = (issue: OptionIssue): OptionIssue =>
      Object.hasOwn(overriding, /^\w*/.exec(issue.path)?.[0] ?? '') ? issue : read.locate(issue);
    throw new InvalidOptionsError(error.what, error.issues.map(locate), { cause: error, hint: error.hint });
  }
}

/** The partitions that definitions of systemd-repart or disko describe. */
async function partitionsOf(
  { repart: directory, disko: file, seed }: BuildFlags,
  given: Record<string, unknown>,
): Promise<Pick<ImageSpecInput, 'partitions' | 'diskSize' | 'encrypt'>> {
  if (directory === undefined && seed !== undefined)
    throw new InvalidOptionsError('build', [{ path: '--seed', message: 'has an effect only with --repart' }]);
  const flags = [directory === undefined ? [] : ['--repart'], file === undefined ? [] : ['--disko']].flat();
  const [flag, other = given.partitions === undefined ? undefined : 'partitions'] = flags;
  if (flag === undefined) return {};
  if (other !== undefined) throw new InvalidOptionsError('build', [{ path: flag, message: `contradicts ${other}` }]);
  if (file !== undefined) {
    const { diskSize, encrypt } = given as Pick<ImageSpecInput, 'diskSize' | 'encrypt'>;
    // Where a partition ends depends on where the disk does.
    if (diskSize === 'auto')
      throw new InvalidOptionsError('build', [{ path: 'diskSize', message: '"auto" contradicts --disko' }]);
    const disk = await readDisko({ file, diskSize, passphraseFile: encrypt?.passphraseFile });
    return { ...disk, ...(encrypt === undefined ? {} : { encrypt: { ...disk.encrypt, ...encrypt } }) };
  }
  if (directory === undefined) return {};
  return { partitions: await readRepart({ directory, seed }) };
}

async function build(specification: Record<string, unknown>, flags: BuildFlags, signal: AbortSignal): Promise<number> {
  if (flags.explain === true) return explain(specification, flags.json === true);
  const container =
    flags.container === undefined ? undefined : await startContainer(flags.container, specification, flags.out);
  const progress = new Progress({ shown: shownBy(flags) });
  const built = await buildImage({ ...specification, outDir: flags.out } as BuildImageOptions, {
    executor: container,
    // Loaded when one is needed: most of the harness is.
    startBuilder: async (options) => (await import('../harness/builder/builder-vm.ts')).startBuilderVm(options),
    efiVariablesTemplate: async () =>
      (await (await import('../harness/qemu/firmware.ts')).findUefiFirmware()).variablesTemplate,
    signal,
    onEvent: progress.onEvent,
  })
    .catch((error: unknown) => {
      progress.fail();
      throw error;
    })
    .finally(() => container?.stop());
  progress.note(
    `${built.image}: ${formatBytes(built.virtualBytes)} (${formatBytes(built.allocatedBytes)} on disk), ${built.format}, in ${formatDuration(built.durationMs)}`,
  );
  if (flags.verify !== true) {
    if (flags.json === true) process.stdout.write(`${JSON.stringify(built, undefined, 2)}\n`);
    else process.stdout.write(`${built.image}\n`);
    return EXIT.good;
  }
  const { verifyImage } = await import('./verify.ts');
  const reports = await verifyImage(
    built.image,
    {
      ...{
        toplevel: built.system.toplevel,
        efiVars: built.efiVariables,
        login: true,
        user: 'root',
        quiet: flags.quiet,
      },
      passphraseFile: parseImageSpec(specification).encrypt?.passphraseFile,
    },
    signal,
    { asJson: flags.json === true },
  );
  if (flags.json === true) process.stdout.write(`${JSON.stringify({ ...built, reports }, undefined, 2)}\n`);
  return reports.every(({ ok }) => ok) ? EXIT.good : EXIT.wrong;
}

/** A container that has the directories which a specification speaks of. */
async function startContainer(
  image: string,
  specification: Record<string, unknown>,
  out: string,
): Promise<ContainerExecutor> {
  const spec = parseImageSpec(specification);
  await mkdir(out, { recursive: true });
  const { containerExecutor } = await import('../harness/builder/container-executor.ts');
  return containerExecutor({
    image,
    directories: [out, ...(await containerDirectories(spec))],
    namespaces: [spec.fsType, ...(spec.partitions ?? []).map(({ filesystem }) => filesystem)].some(needsNamespaces),
  });
}

/** Says which way each phase would go, and builds nothing. */
async function explain(specification: Record<string, unknown>, json: boolean): Promise<number> {
  const { phases } = await planBuild(specification as ImageSpecInput);
  if (json) process.stdout.write(`${JSON.stringify(phases, undefined, 2)}\n`);
  else {
    const width = Math.max(...phases.map(({ phase }) => phase.length));
    for (const { phase, way, why } of phases)
      process.stdout.write(`${phase.padEnd(width)}  ${way}\n${' '.repeat(width)}  because: ${why}\n`);
  }
  return EXIT.good;
}
