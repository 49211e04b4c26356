import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBuilderVm } from '../../../../harness/builder/builder-vm.ts';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../../../../lib/build/build-image.ts';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// The files installed from boot.json are those of the system's own installer, path by path and byte by byte.

/** The files of a FAT by path; directories end with a slash. */
async function contents(built: BuiltImage, role: 'esp' | 'xbootldr', directory: string): Promise<Map<string, string>> {
  await mkdir(directory, { recursive: true });
  await run(['mcopy', '-s', '-n', '-i', `${built.image}@@${built.disk[role]?.offsetBytes}`, '::/*', directory], {
    env: { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1' },
  });
  const found = new Map<string, string>();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(directory.length + 1);
    if (entry.isDirectory()) found.set(`${name}/`, '');
    // The menu has the date of the build, which may change between the two.
    else found.set(name, (await readFile(path, 'latin1')).replace(/, built on \d{4}-\d\d-\d\d$/m, ', built on a day'));
  }
  return new Map([...found].sort());
}

test.each([
  ['efi', 'demo-systemd-boot', ['esp']],
  ['efixbootldr', 'demo-systemd-boot-xbootldr', ['esp', 'xbootldr']],
] as const)('%s: the boot partitions are the same both ways', async (partitionTableType, system, roles) => {
  const demo = await prepareDemo();
  const directory = await tempDirectory();
  const options: Omit<BuildImageOptions, 'outDir'> = {
    ...{ toplevel: demo.systems[system] ?? '', store: demo.store, partitionTableType, additionalSpace: '64M' },
    bootSize: '140M',
  };
  const inVm = await buildImage({ ...options, outDir: join(directory, 'vm') }, { startBuilder: startBuilderVm });
  const offline = await buildImage({
    ...options,
    ...{ outDir: join(directory, 'offline'), bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  for (const role of roles) {
    const theirs = await contents(inVm, role, join(directory, 'theirs', role));
    const ours = await contents(offline, role, join(directory, 'ours', role));
    expect([...ours.keys()]).toEqual([...theirs.keys()]);
    for (const [path, bytes] of theirs) expect(ours.get(path) === bytes, path).toBe(true);
    expect(theirs.size).toBeGreaterThan(role === 'esp' ? 4 : 8);
  }
});
