import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, onTestFinished, test } from 'vitest';
import { startBuilderVm } from '../../harness/builder-vm.ts';
import { packageFile } from '../../harness/cache-folder.ts';
import { startMachine } from '../../harness/machine.ts';
import { localExecutor } from '../../lib/local-executor.ts';
import { removeTree } from '../../lib/private-output.ts';
import { computeDiskSize } from '../../lib/steps/compute-disk-size.ts';
import { createDisk } from '../../lib/steps/create-disk.ts';
import { copyClosureArgs, installSystem, setProfileArgs } from '../../lib/steps/install-system.ts';
import { makeFilesystem, makeFilesystemArgs } from '../../lib/steps/make-filesystem.ts';
import { fixIdentifiersArgs, partitionDisk, partitionDiskArgs } from '../../lib/steps/partition-disk.ts';
import { tuneFilesystem } from '../../lib/steps/tune-filesystem.ts';
import { formatBytes, MIB } from '../../lib/units.ts';
import { prepareDemo } from '../../vm-images/demo.ts';

// Machines differ and are shared: what counts are ratios within one run. Nothing here fails for being slow; the table says.

const rows: string[] = [];
function report(what: string, value: string, aim: string): void {
  rows.push(`${what.padEnd(64)} ${value.padStart(12)}   ${aim}`);
  process.stdout.write(`${rows.at(-1)}\n`);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ndi-bench-'));
  onTestFinished(() => removeTree(path));
  return path;
}

const NIX_CONFIG = 'substituters =\nbuild-users-group =\nexperimental-features = nix-command\n';
const quote = (words: readonly string[]): string => words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');

test('the host part of a build beside the same commands in plain shell', async () => {
  const { store, systems } = await prepareDemo();
  const toplevel = systems['demo-grub-hybrid'] ?? '';
  const layout = { partitionTableType: 'hybrid', bootSize: '128M' } as const;
  const work = await folder();
  let next = 0;
  let facts: { diskBytes: number; inodeCount: number; offsetBytes: number; sizeBytes: number } | undefined;

  const ours = async (): Promise<void> => {
    const at = join(work, `${next++}`);
    await mkdir(at);
    const root = join(at, 'root');
    const image = join(at, 'disk.img');
    await installSystem({ root, toplevel, store });
    const size = await computeDiskSize({ root, ...layout, additionalSpace: '64M' });
    await createDisk({ image, sizeBytes: size.diskBytes });
    const disk = await partitionDisk({ image, ...layout });
    await makeFilesystem({ image, partition: disk.root, inodeCount: size.inodeCount, populateFrom: root });
    await tuneFilesystem({ device: image, offsetBytes: disk.root.offsetBytes });
    facts = {
      diskBytes: size.diskBytes,
      inodeCount: size.inodeCount,
      offsetBytes: disk.root.offsetBytes,
      sizeBytes: disk.root.sizeBytes,
    };
  };
  const shell = async (): Promise<void> => {
    if (facts === undefined) throw new Error('ours runs first');
    const at = join(work, `${next++}`);
    await mkdir(at);
    const root = join(at, 'root');
    const location = `./disk.img?offset=${facts.offsetBytes}`;
    const partition = { offsetBytes: facts.offsetBytes, sizeBytes: facts.sizeBytes };
    const commands = [
      ['mkdir', '-p', 'root/nix/var/nix/profiles', 'root/etc', 'root/tmp', 'root/root', 'root/boot'],
      copyClosureArgs(root, [toplevel], store),
      setProfileArgs(root, join(root, 'nix/var/nix/profiles/system'), toplevel),
      ['nix-store', '--store', `local?root=${root}`, '--query', '--requisites', toplevel],
      ['touch', 'root/etc/NIXOS'],
      ['find', root, '-printf', '%y %s\\n'],
      ['truncate', '-s', `${facts.diskBytes}`, 'disk.img'],
      partitionDiskArgs('./disk.img', 'hybrid', 128 * MIB),
      ...fixIdentifiersArgs('./disk.img', 'hybrid', 'F222513B-DED1-49FA-B591-20CE86A2FE7F'),
      ['sfdisk', '--json', './disk.img'],
      makeFilesystemArgs({ image: 'disk.img', partition, inodeCount: facts.inodeCount, populateFrom: root }),
      ['dumpe2fs', '-h', location],
      ['e2fsck', '-p', location],
      ['tune2fs', '-T', 'now', '-c', '0', '-i', '0', location],
      ['dumpe2fs', '-h', location],
    ];
    const script = commands.map((command) => `${quote(command)} >/dev/null 2>&1 || exit 1`).join('\n');
    const result = await localExecutor.run(['sh', '-c', script], { cwd: at, env: { NIX_CONFIG } });
    expect(result.exitCode).toBe(0);
  };
  await ours();
  await shell();
  const ratios: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const [first, second] = round % 2 === 0 ? [ours, shell] : [shell, ours];
    const firstMs = await timed(first);
    const secondMs = await timed(second);
    ratios.push(round % 2 === 0 ? firstMs / secondMs : secondMs / firstMs);
  }
  report('host part of a build ÷ the same commands in shell (5 rounds)', median(ratios).toFixed(2), '≤ 1.10');
});

test('the builder VM', async () => {
  const image = join(await folder(), 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  const ready: number[] = [];
  const trivial: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const vm = await startBuilderVm({ image });
    const first = await timed(() => vm.run(['true']));
    ready.push(vm.readyMs + first);
    for (let count = 0; count < 20; count += 1) trivial.push(await timed(() => vm.run(['true'])));
    await vm.stop();
  }
  report(
    'builder VM: QEMU started to first command done (median of 5)',
    `${(median(ready) / 1000).toFixed(2)} s`,
    '≤ 3.5 s, idle, TCG',
  );
  report('builder VM: each further trivial command (median of 100)', `${median(trivial).toFixed(1)} ms`, '≤ 40 ms');
});

test('a match on the console', async () => {
  const image = join(await folder(), 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  // From the last byte before the match to the wait's return.
  const delays: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await using machine = await startMachine({ image, firmware: 'legacy' });
    await machine.waitForConsoleText('SeaBIOS');
    delays.push(performance.now() - machine.console.lastByteAt);
  }
  report('console: bytes arrived to match returned (worst of 5)', `${Math.max(...delays, 0).toFixed(1)} ms`, '≤ 20 ms');
});

test('memory of node', async () => {
  const { store, systems } = await prepareDemo();
  const out = await folder();
  const measure = join(out, 'measure.mjs');
  await writeFile(
    measure,
    `import { readFileSync } from 'node:fs';\nprocess.on('exit', () => console.error('VmHWM ' + /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]));\n`,
  );
  for (const [what, more] of [
    ['demo system, hybrid', ['--additional-space', '64M']],
    ['demo system, 100 GiB disk, qcow2', ['--disk-size', '102400', '--format', 'qcow2']],
  ] as const) {
    const built = await execa(
      process.execPath,
      [
        '--import',
        measure,
        packageFile('dist/cli/main.js'),
        'build',
        '--toplevel',
        systems['demo-grub-hybrid'] ?? '',
        '--store',
        store,
        '--out',
        out,
        '--partition-table-type',
        'hybrid',
        ...more,
      ],
      { reject: false },
    );
    expect(built.exitCode, built.stderr).toBe(0);
    report(
      `memory of node, build: ${what}`,
      formatBytes(Number(/VmHWM (\d+)/.exec(built.stderr)?.[1]) * 1024),
      '≤ 150 MiB',
    );
  }
});
