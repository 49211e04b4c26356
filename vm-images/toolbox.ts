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

/** Two releases of Debian, with versions of the tools that are years apart. */
export const TOOLBOXES = { 'debian-12': 'bookworm', 'debian-13': 'trixie' } as const;
export type Toolbox = keyof typeof TOOLBOXES;

const STEP = 'toolbox';

/** Builds the container image of a toolbox from vm-images/toolbox/Dockerfile, unless it exists. Its base image is made
 *  from Debian packages, so that no container registry is needed. Runs: mmdebstrap.
 *  @param more additional packages.
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
    say(`making a base image of Debian ${release} from its packages`);
    await using work = await makePrivateDirectory(tmpdir());
    const tar = join(work.path, 'base.tar');
    await runCommand(STEP, ['mmdebstrap', '--quiet', '--variant=minbase', release, tar]);
    const { dockerode } = client.container;
    const imported = await dockerode.importImage(createReadStream(tar), { repo: base.split(':')[0], tag: release });
    await finished(client, imported);
  }
  say(`building ${image}`);
  // The host's network, because an engine without privileges may be unable to create one for the container.
  const options = { t: image, buildargs: { BASE: base, MORE: more.join(' ') }, networkmode: 'host' };
  const built = await client.container.dockerode.buildImage({ context: directory, src: ['Dockerfile'] }, options);
  await finished(client, built);
  return image;
}

/** Waits for the end of the engine's progress stream, which reports a failure. */
async function finished(client: ContainerRuntimeClient, progress: NodeJS.ReadableStream): Promise<void> {
  const events: { readonly stream?: string }[] = [];
  await new Promise<void>((done, fail) => {
    client.container.dockerode.modem.followProgress(
      progress,
      (error) => {
        const lines = events
          .map(({ stream = '' }) => stream)
          .join('')
          .split('\n')
          .slice(-20)
          .join('\n');
        if (error)
          fail(new HarnessError(`${STEP}: the container engine failed: ${error.message}\n${lines}`, { cause: error }));
        else done();
      },
      (event) => events.push(event),
    );
  });
}
