import { readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../../../lib/build/build-image.ts';
import type { BuildContext } from '../../../lib/build/context.ts';
import { type ImageInspection, inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { parseImageSpec } from '../../../lib/spec/image-spec.ts';
import { type DemoSystems, prepareDemo } from '../../../vm-images/demo.ts';
import { MAKE_DISK_IMAGE_OPTIONS, NIX_ONLY } from '../../helpers/make-disk-image.ts';
import { run } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// Every option of nixpkgs' make-disk-image has the same effect here. docs/make-disk-image.md has a row for each.

const GUID = '01234567-89AB-CDEF-0123-456789ABCDEF';
const MIB = 1024 ** 2;

let demo: DemoSystems;
beforeAll(async () => {
  demo = await prepareDemo();
});

interface Made {
  readonly built: BuiltImage;
  readonly found: ImageInspection;
  /** The output of debugfs for the root filesystem. */
  debugfs(command: string): Promise<string>;
}

async function make(options: Partial<BuildImageOptions>, context: BuildContext = {}): Promise<Made> {
  const hasNoTable = options.partitionTableType === 'none';
  const isNone = hasNoTable || options.installBootLoader === false;
  const system = hasNoTable ? 'tiny-grub-menu' : 'tiny-grub-hybrid';
  const built = await buildImage(
    {
      ...{ toplevel: demo.systems[system] ?? '', store: demo.store, outDir: await tempDirectory() },
      ...{ additionalSpace: '16M', bootSize: '128M', bootLoaderFrom: 'bootspec' },
      ...(isNone ? {} : { bootLoader: 'grub' as const }),
      ...options,
    },
    context,
  );
  const { offsetBytes } = built.disk.root;
  const at = `./${basename(built.image)}${offsetBytes === 0 ? '' : `?offset=${offsetBytes}`}`;
  return {
    built,
    found: await inspectImage({ image: built.image }),
    debugfs: (command) => run(['debugfs', '-R', command, at], { cwd: dirname(built.image) }),
  };
}

/** The effect of each option in the image. */
const SEEN: Readonly<Record<string, () => Promise<void>>> = {
  async diskSize() {
    expect((await make({ diskSize: 333 })).found.virtualBytes).toBe(333 * MIB);
  },
  async additionalSpace() {
    const [less, more] = [await make({ additionalSpace: '16M' }), await make({ additionalSpace: '80M' })];
    expect(more.found.virtualBytes - less.found.virtualBytes).toBe(64 * MIB);
    expect(more.built.filesystem.freeBytes).toBeGreaterThan(64 * MIB);
  },
  async bootSize() {
    const { found } = await make({ partitionTableType: 'efi', bootSize: '96M' });
    const esp = found.partitions[0];
    expect((esp?.offsetBytes ?? 0) + (esp?.sizeBytes ?? 0)).toBe(96 * MIB);
  },
  async contents() {
    const source = join(await tempDirectory(), 'file');
    await writeFile(source, 'content\n');
    const contents = [{ source, target: '/srv/file', mode: '640', user: 'alice', group: 'users' }];
    const { debugfs } = await make({ contents });
    expect(await debugfs('cat /srv/file')).toBe('content\n');
    expect(await debugfs('stat /srv/file')).toMatch(/Mode:\s+0640[\s\S]*User:\s+1000\s+Group:\s+100/);
    await expect(make({ contents: [...contents, ...contents] })).rejects.toThrow(/duplicate|exists/);
    await expect(make({ contents: [{ source, target: '/x', user: 'alice' }] })).rejects.toThrow(/group/);
  },
  async partitionTableType() {
    const tables = [];
    for (const type of ['legacy', 'legacy+boot', 'legacy+gpt', 'efi', 'efixbootldr', 'hybrid', 'none'] as const) {
      const { found } = await make({ partitionTableType: type });
      tables.push([type, found.table, found.partitions.map(({ purpose = 'other' }) => purpose).join(' ')]);
    }
    expect(tables).toEqual([
      ['legacy', 'msdos', 'linux'],
      ['legacy+boot', 'msdos', 'other linux'],
      ['legacy+gpt', 'gpt', 'bios-grub linux'],
      ['efi', 'gpt', 'esp linux'],
      ['efixbootldr', 'gpt', 'esp xbootldr linux'],
      ['hybrid', 'gpt', 'esp bios-grub linux'],
      ['none', 'none', ''],
    ]);
  },
  async installBootLoader() {
    expect((await make({ partitionTableType: 'hybrid' })).found.bios.loader).toBe('grub');
    const without = await make({ partitionTableType: 'hybrid', installBootLoader: false });
    expect(without.found.bios.loader).toBe('none');
    expect(without.found.efi.loaders).toEqual([]);
  },
  async touchEFIVars() {
    const template = '/usr/share/OVMF/OVMF_VARS_4M.fd';
    const { built } = await make({ partitionTableType: 'efi', touchEFIVars: true, efiVariables: template });
    expect(basename(built.efiVariables ?? '')).toBe('efi-vars.fd');
    // An empty store, which has no loader for a boot entry.
    for (const more of [
      { partitionTableType: 'legacy+gpt' },
      { partitionTableType: 'efi', installBootLoader: false },
    ] as const) {
      const { built: empty } = await make({ ...more, touchEFIVars: true, efiVariables: template });
      expect((await readFile(empty.efiVariables ?? '')).equals(await readFile(template))).toBe(true);
    }
    await expect(make({ partitionTableType: 'legacy', touchEFIVars: true })).rejects.toThrow(
      /touchEFIVars: contradicts partitionTableType "legacy"/,
    );
  },
  async efiVariables() {
    const options = { partitionTableType: 'efi', touchEFIVars: true } as const;
    await expect(make(options)).rejects.toThrow(/efiVariables: is required with touchEFIVars/);
    await expect(make({ ...options, touchEFIVars: false, efiVariables: '/x' })).rejects.toThrow(
      /efiVariables: has no effect with touchEFIVars: false/,
    );
  },
  async fsType() {
    expect((await make({})).found.partitions[0]?.filesystem?.type).toBe('ext4');
    const { found } = await make({ fsType: 'btrfs', partitionTableType: 'none', additionalSpace: '128M' });
    expect(found.filesystem?.type).toBe('btrfs');
  },
  async label() {
    expect((await make({})).found.partitions[0]?.filesystem?.label).toBe('nixos');
    expect((await make({ label: 'other' })).found.partitions[0]?.filesystem?.label).toBe('other');
  },
  async configFile() {
    const configFile = join(await tempDirectory(), 'configuration.nix');
    await writeFile(configFile, '{ }\n');
    const { debugfs } = await make({ configFile });
    expect(await debugfs('cat /etc/nixos/configuration.nix')).toBe('{ }\n');
    expect((await (await make({})).debugfs('ls /etc')).includes('nixos')).toBe(false);
  },
  async postVM() {
    const { built } = await make({ postVM: ['sh', '-c', 'test -f "$diskImage" && : > "$out/hook"'] });
    await run(['test', '-f', join(dirname(built.image), 'hook')]);
    await expect(make({ postVM: ['false'] })).rejects.toThrow(/the postVM hook failed/);
  },
  async memSize() {
    const asked: number[] = [];
    const attempt = make(
      { bootLoaderFrom: 'switch-to-configuration', bootLoader: undefined, memSize: 2048 },
      {
        startBuilder: async ({ memSizeMiB }) => {
          asked.push(memSizeMiB);
          throw new Error('no machine is needed to see that');
        },
      },
    );
    await expect(attempt).rejects.toThrow('no machine is needed');
    expect(asked).toEqual([2048]);
  },
  async onlyNixStore() {
    const { debugfs, found } = await make({ onlyNixStore: true, installBootLoader: false });
    expect(await debugfs('ls -p /')).toContain(basename(demo.systems['tiny-grub-hybrid'] ?? ''));
    expect(found.partitions[0]?.filesystem?.label).toBe('nix-store');
    await expect(make({ onlyNixStore: true })).rejects.toThrow(/contradicts installBootLoader/);
  },
  async name() {
    expect(basename((await make({ name: 'site' })).built.image)).toBe('nixos.img');
  },
  async baseName() {
    expect(basename((await make({ baseName: 'host' })).built.image)).toBe('host.img');
  },
  async format() {
    const names = [];
    for (const format of ['raw', 'qcow2', 'qcow2-compressed', 'vdi', 'vpc'] as const) {
      const { built, found } = await make({ format });
      names.push([basename(built.image), found.format]);
    }
    expect(names).toEqual([
      ['nixos.img', 'raw'],
      ['nixos.qcow2', 'qcow2'],
      ['nixos.qcow2', 'qcow2'],
      ['nixos.vdi', 'vdi'],
      ['nixos.vhd', 'vpc'],
    ]);
  },
  async deterministic() {
    const ids = async (deterministic: boolean) => {
      const { found } = await make({ partitionTableType: 'hybrid', deterministic });
      return [
        found.diskId,
        ...found.partitions.flatMap(({ partitionUuid, filesystem }) => [partitionUuid, filesystem?.uuid]),
      ];
    };
    expect(await ids(true)).toEqual(await ids(true));
    const [one, other] = [await ids(false), await ids(false)];
    for (const [index, id] of one.entries()) if (id !== undefined) expect(id).not.toBe(other[index]);
  },
  async reproducible() {
    const sum = async () => (await run(['sha256sum', (await make({ reproducible: true })).built.image])).slice(0, 64);
    expect(await sum()).toBe(await sum());
  },
  async rootGPUID() {
    const { found } = await make({ partitionTableType: 'efi', rootGPUID: GUID });
    expect(found.partitions[1]?.partitionUuid).toBe(GUID.toLowerCase());
    expect(parseImageSpec({ toplevel: '/x' }).rootGPUID).toBe('F222513B-DED1-49FA-B591-20CE86A2FE7F');
  },
  async rootFSUID() {
    expect((await make({ rootFSUID: GUID })).found.partitions[0]?.filesystem?.uuid).toBe(GUID.toLowerCase());
    expect(parseImageSpec({ toplevel: '/x', rootGPUID: GUID }).rootFSUID).toBe(GUID);
  },
  async rootFSHashSeed() {
    const seedOf = async (options: Partial<BuildImageOptions>) =>
      /Directory Hash Seed:\s+(\S+)/.exec(await (await make(options)).debugfs('show_super_stats -h'))?.[1];
    expect(await seedOf({ rootFSHashSeed: GUID })).toBe(GUID.toLowerCase());
    expect(await seedOf({ rootFSUID: GUID })).toBe(GUID.toLowerCase());
  },
  async populateRootWith() {
    expect(parseImageSpec({ toplevel: '/x', populateRootWith: 'cptofs' }).populateRootWith).toBe('cptofs');
    expect(() => parseImageSpec({ toplevel: '/x', populateRootWith: 'cptofs', reproducible: true })).toThrow(
      /reproducible: contradicts populateRootWith "cptofs"/,
    );
  },
  async copyChannel() {
    const channel = demo.systems['tiny-none'] ?? '';
    const { debugfs } = await make({ channel });
    expect(await debugfs('stat /root/.nix-defexpr/channels')).toContain('/nix/var/nix/profiles/per-user/root/channels');
    const link = await debugfs('stat /nix/var/nix/profiles/per-user/root/channels-1-link');
    expect(link).toMatch(new RegExp(`Type: symlink[\\s\\S]*Size: ${channel.length}\\n`));
    expect(await (await make({})).debugfs('ls /root')).not.toContain('.nix-defexpr');
  },
  async additionalPaths() {
    const more = demo.systems['tiny-systemd-boot'] ?? '';
    expect((await make({ additionalPaths: [more] })).built.system.storePaths).toContain(more);
    expect((await make({})).built.system.storePaths).not.toContain(more);
  },
};

test('every option has a test', () => {
  expect(Object.keys(SEEN).sort()).toEqual(MAKE_DISK_IMAGE_OPTIONS.filter((name) => !NIX_ONLY.has(name)).sort());
});

test.each(Object.entries(SEEN))('%s', async (_, look) => {
  await look();
});

test('nix/make-disk-image.nix accepts every argument of nixpkgs’ function and requires no others', async () => {
  const expression = `builtins.functionArgs (import ${packageFile('nix/make-disk-image.nix')})`;
  const told = await run(['nix-instantiate', '--eval', '--strict', '--json', '--expr', expression], {
    env: { NIX_REMOTE: 'dummy://', NIX_PATH: '' },
  });
  const hasDefault = JSON.parse(told) as Record<string, boolean>;
  for (const name of MAKE_DISK_IMAGE_OPTIONS) expect(hasDefault).toHaveProperty([name]);
  const needed = Object.entries(hasDefault).flatMap(([name, optional]) => (optional ? [] : [name]));
  expect(needed.sort()).toEqual(['config', 'lib', 'pkgs']);
});
