import { createHash } from 'node:crypto';
import { copyFile, cp, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheDirectory, cachedDirectory, packageFile } from '../../../harness/cache-directory.ts';
import { downloadPackages, PRIVATE_NIX, runCommand } from '../../../vm-images/debian-packages.ts';
import { demoInputs, prepareDemo } from '../../../vm-images/demo.ts';

const STEP = 'drop-in';

/** The distribution's packages that replace those of nixpkgs. */
const PACKAGES = [
  ...[
    'bash',
    'coreutils',
    'diffutils',
    'findutils',
    'gawk',
    'grep',
    'gzip',
    'sed',
    'tar',
    'xz-utils',
    'python3',
    'patchelf',
  ],
  ...['gcc', 'g++', 'libc6-dev', 'make', 'binutils', 'rsync', 'attr', 'nix-bin', 'sqlite3', 'parted', 'fdisk', 'mount'],
  ...['util-linux', 'e2fsprogs', 'mtools', 'dosfstools', 'qemu-utils', 'qemu-system-x86', 'btrfs-progs', 'xfsprogs'],
  ...[
    'f2fs-tools',
    'erofs-utils',
    'squashfs-tools',
    'fakeroot',
    'faketime',
    'sbsigntool',
    'efitools',
    'openssl',
    'cryptsetup-bin',
    'zstd',
    'grub-common',
    'grub-pc-bin',
    'grub-efi-amd64-bin',
    'ovmf',
  ],
];

/** A private store with the demo systems, in which Nix builds with nix/make-disk-image.nix. */
export interface DropIn {
  /** Builds an expression in which `<nixpkgs>` and `<nixpkgs/nixos>` are the distribution and a demo system. */
  buildFile(file: string): Promise<string>;
  /** Builds an image from arguments in Nix syntax. Further arguments are for nix-build, such as `--check`.
   *  @returns the derivation's output as a directory on this host. */
  build(
    system: { readonly flavour: string; readonly variant: string; readonly arguments?: string },
    more?: readonly string[],
  ): Promise<string>;
}

/** Prepares the store; the replacement of nixpkgs is cached. Runs: apt-get, nix, nix-build, npm. */
export async function prepareDropIn(): Promise<DropIn> {
  const store = join(cacheDirectory(), 'drop-in-store');
  const demo = await prepareDemo();
  const node = createHash('sha256').update(process.version).update(PACKAGES.join()).digest('hex').slice(0, 16);
  const programs = await cachedDirectory(`drop-in-inputs-${node}`, async (work) => {
    await downloadPackages(work, { wanted: PACKAGES });
    const prefix = dirname(dirname(process.execPath));
    await mkdir(join(work, 'node'));
    await copyFile(process.execPath, join(work, 'node/node'));
    await cp(join(prefix, 'lib/node_modules/npm'), join(work, 'npm'), { recursive: true });
    await cp(join(prefix, 'include/node'), join(work, 'include/node'), { recursive: true });
  });
  await mkdir(store, { recursive: true });
  const nix = ['nix', '--extra-experimental-features', 'nix-command'];
  const uri = `local?root=${store}`;
  // Demo systems are not built again.
  await runCommand(
    STEP,
    [
      ...nix,
      'copy',
      '--no-check-sigs',
      '--from',
      `local?root=${demo.store}`,
      '--to',
      uri,
      ...Object.values(demo.systems),
    ],
    { env: PRIVATE_NIX },
  );
  await addNodeModules(store);
  const inputs = await demoInputs();
  const nixBuild = async (args: readonly string[]): Promise<string> => {
    const output = await runCommand(STEP, ['nix-build', '--store', store, '--no-out-link', ...args], {
      env: {
        ...PRIVATE_NIX,
        // Debian's Nix, unlike others, has no default for sandbox-paths.
        NIX_CONFIG: `${PRIVATE_NIX.NIX_CONFIG}sandbox-paths = /bin/sh=${programs}/bin/busybox\n`,
        ...{ PROGRAMS: programs, DEMO: inputs, NIX_PATH: `nixpkgs=${packageFile('test/helpers/nix/nixpkgs')}` },
      },
    });
    return join(store, output.trim());
  };
  return {
    buildFile: (file) => nixBuild([file]),
    build: ({ flavour, variant, arguments: given = '{ }' }, more = []) =>
      nixBuild([
        ...[packageFile('test/helpers/nix/drop-in.nix'), ...more],
        ...['--argstr', 'programs', programs, '--argstr', 'demo', inputs],
        ...['--argstr', 'flavour', flavour, '--argstr', 'variant', variant, '--arg', 'arguments', given],
      ]),
  };
}

/** Adds the downloads of nix/package.nix to the store, because Nix has no network here. Their store path depends on their contents,
 *  so that a wrong hash in the expression makes the build fail. */
async function addNodeModules(store: string): Promise<void> {
  const lock = createHash('sha256')
    .update(await readFile(packageFile('package-lock.json')))
    .digest('hex')
    .slice(0, 16);
  const modules = await cachedDirectory(`drop-in-node-modules-${lock}`, async (work) => {
    for (const name of ['package.json', 'package-lock.json']) await copyFile(packageFile(name), join(work, name));
    await runCommand(
      STEP,
      ['npm', 'ci', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--loglevel=error'],
      { cwd: work },
    );
    await rm(join(work, 'node_modules/.package-lock.json'));
    await rename(join(work, 'node_modules'), join(work, 'nixos-disk-image-node-modules'));
  });
  await runCommand(
    STEP,
    [
      ...['nix-store', '--store', store, '--add-fixed', '--recursive', 'sha256'],
      join(modules, 'nixos-disk-image-node-modules'),
    ],
    { env: PRIVATE_NIX },
  );
}
