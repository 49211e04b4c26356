import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ContainerRuntimeClient, getContainerRuntimeClient, ImageName } from 'testcontainers';
import { packageFile } from '../harness/cache-directory.ts';
import { HarnessError } from '../harness/errors.ts';
import { makePrivateDirectory } from '../lib/host-files/private-output.ts';
import { runCommand } from './debian-packages.ts';

/** Two sets of programs, years apart. */
export const TOOLBOXES = { 'debian-12': 'bookworm', 'debian-13': 'trixie' } as const;
export type Toolbox = keyof typeof TOOLBOXES;

const STEP = 'toolbox';

/** Makes the image of a toolbox in the container engine, if it is not there: vm-images/toolbox/Dockerfile, on a Debian made from
 *  the distribution's packages, for there need not be a registry. Runs: mmdebstrap.
 *  @param more packages that it is to have as well.
 *  @returns the image's name. */
export async function prepareToolbox(
  toolbox: Toolbox,
  more: readonly string[] = [],
  say: (line: string) => void = () => {},
): Promise<string> {
  const directory = packageFile('vm-images/toolbox');
  const key = createHash('sha256')
    .update(more.join())
    .update(await readFile(join(directory, 'Dockerfile')))
    .digest('hex')
    .slice(0, 12);
  const image = `nixos-disk-image-toolbox:${toolbox}-${key}`;
  const client = await getContainerRuntimeClient();
  if (await client.image.exists(ImageName.fromString(image))) return image;
  const release = TOOLBOXES[toolbox];
  const base = `nixos-disk-image-base:${release}`;
  if (!(await client.image.exists(ImageName.fromString(base)))) {
    say(`making a ${release} from its packages`);
    await using work = await makePrivateDirectory(tmpdir());
    const tar = join(work.path, 'base.tar');
    await runCommand(STEP, ['mmdebstrap', '--quiet', '--variant=minbase', release, tar]);
    const { dockerode } = client.container;
    const imported = await dockerode.importImage(createReadStream(tar), { repo: base.split(':')[0], tag: release });
    await lastOf(client, imported);
  }
  say(`building ${image}`);
  // The host's network: an engine that gives containers none of their own needs no rights over the host's.
  const options = { t: image, buildargs: { BASE: base, MORE: more.join(' ') }, networkmode: 'host' };
  const built = await client.container.dockerode.buildImage({ context: directory, src: ['Dockerfile'] }, options);
  await lastOf(client, built);
  return image;
}

/** The end of what the engine tells of its work, which is where it says that it failed. */
async function lastOf(client: ContainerRuntimeClient, progress: NodeJS.ReadableStream): Promise<void> {
  const said: { readonly stream?: string }[] = [];
  await new Promise<void>((done, fail) => {
    client.container.dockerode.modem.followProgress(
      progress,
      (error) => {
        const lines = said
          .map(({ stream = '' }) => stream)
          .join('')
          .split('\n')
          .slice(-20)
          .join('\n');
        if (error)
          fail(new HarnessError(`${STEP}: the container engine failed: ${error.message}\n${lines}`, { cause: error }));
        else done();
      },
      (event) => said.push(event),
    );
  });
}
