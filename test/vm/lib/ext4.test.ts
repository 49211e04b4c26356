import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startBuilderVm } from '../../../harness/builder/builder-vm.ts';
import type { TreeEntry } from '../../../lib/filesystem/tree.ts';
import { createDisk } from '../../../lib/steps/create-disk.ts';
import { makeFilesystem } from '../../../lib/steps/make-filesystem.ts';
import { mountRoot } from '../../../lib/steps/mount-root.ts';
import { unmountRoot } from '../../../lib/steps/unmount-root.ts';
import { MIB } from '../../../lib/units.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

const directory = (path: string): TreeEntry => ({
  ...{ path, type: 'directory', mode: 0o755, uid: 0, gid: 0, sizeBytes: 0, mtime: 1 },
  ...{ source: '', target: '', hardLink: undefined },
});

test('a kernel continues to fill a store beyond 65,000 paths, and finds existing ones', async () => {
  const image = join(await tempDirectory(), 'disk.img');
  const sizeBytes = 400 * MIB;
  await createDisk({ image, sizeBytes });
  const there = 64_990;
  const entries = [directory('nix'), directory('nix/store')];
  for (let index = 0; index < there; index += 1) entries.push(directory(`nix/store/${index}`));
  const partition = { offsetBytes: 0, sizeBytes };
  await makeFilesystem({ image, partition, files: entries, inodeCount: 70_000 });
  {
    await using vm = await startBuilderVm({ image });
    await mountRoot({ device: '/dev/vda' }, { executor: vm });
    const script = `
      cd /mnt/nix/store
      new=0; while [ $new -lt 300 ]; do mkdir new-$new; new=$((new + 1)); done
      [ -d 0 ] && [ -d ${there - 1} ] && [ -d new-299 ] && rmdir 5 7 new-7
      ls | wc -l`;
    const { exitCode, stdout, stderr } = await vm.run(['sh', '-euc', script], {});
    expect(exitCode, stderr.toString('utf8')).toBe(0);
    await unmountRoot({}, { executor: vm });
    expect(stdout.toString('utf8').trim()).toBe(`${there + 300 - 3}`);
  }
  await run(['e2fsck', '-fn', image]);
});
