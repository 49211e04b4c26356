// Sets up a fresh clone for the README's two commands: Debian packages, npm packages, the build. It is plain
// JavaScript, because no package is installed when it runs. What is already installed is left alone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian packages, each with a file that exists if it is installed. A unit test compares them with
 *  lib/run/tools.ts. */
export const PACKAGES = {
  attr: '/usr/bin/getfattr',
  'btrfs-progs': '/usr/bin/btrfs',
  'busybox-static': '/bin/busybox',
  'ca-certificates': '/etc/ssl/certs/ca-certificates.crt',
  cpio: '/usr/bin/cpio',
  'cryptsetup-bin': '/sbin/cryptsetup',
  dosfstools: '/usr/sbin/mkfs.vfat',
  e2fsprogs: '/usr/sbin/mkfs.ext4',
  efitools: '/usr/bin/sign-efi-sig-list',
  'erofs-utils': '/usr/bin/mkfs.erofs',
  'f2fs-tools': '/usr/sbin/mkfs.f2fs',
  fakeroot: '/usr/bin/fakeroot',
  faketime: '/usr/bin/faketime',
  fdisk: '/usr/sbin/sfdisk',
  findutils: '/usr/bin/find',
  'g++': '/usr/bin/g++',
  gcc: '/usr/bin/gcc',
  git: '/usr/bin/git',
  'libc-bin': '/usr/bin/ldd',
  'grub-common': '/usr/bin/grub-mkimage',
  'grub-efi-amd64-bin': '/usr/lib/grub/x86_64-efi/moddep.lst',
  'grub-pc-bin': '/usr/lib/grub/i386-pc/moddep.lst',
  make: '/usr/bin/make',
  mtools: '/usr/bin/mcopy',
  'nix-bin': '/usr/bin/nix',
  ovmf: '/usr/share/OVMF/OVMF_CODE_4M.fd',
  openssl: '/usr/bin/openssl',
  parted: '/usr/sbin/parted',
  python3: '/usr/bin/python3',
  'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
  'qemu-utils': '/usr/bin/qemu-img',
  rsync: '/usr/bin/rsync',
  sbsigntool: '/usr/bin/sbsign',
  seabios: '/usr/share/seabios/bios-256k.bin',
  sqlite3: '/usr/bin/sqlite3',
  'util-linux': '/usr/bin/unshare',
  xfsprogs: '/usr/sbin/mkfs.xfs',
  'xz-utils': '/usr/bin/xz',
  zstd: '/usr/bin/zstd',
};

/** Packages that only the tests need, installed with `--tests`: image builders and compressors, a container engine, an
 *  emulator for another architecture, a browser, OCR, shells and a terminal for them, and login for small guests. */
const TEST_PACKAGES = {
  binutils: '/usr/bin/objcopy',
  bzip2: '/bin/bzip2',
  chromium: '/usr/bin/chromium',
  'docker.io': '/usr/sbin/dockerd',
  fish: '/usr/bin/fish',
  'fonts-dejavu-core': '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf',
  'libtss2-esys-3.0.2-0': '/usr/lib/x86_64-linux-gnu/libtss2-esys.so.0',
  'libtss2-rc0': '/usr/lib/x86_64-linux-gnu/libtss2-rc.so.0',
  'libtss2-tcti-swtpm0': '/usr/lib/x86_64-linux-gnu/libtss2-tcti-swtpm.so.0',
  login: '/usr/bin/login',
  lz4: '/usr/bin/lz4',
  mmdebstrap: '/usr/bin/mmdebstrap',
  'qemu-efi-aarch64': '/usr/share/AAVMF/AAVMF_CODE.fd',
  'qemu-system-arm': '/usr/bin/qemu-system-aarch64',
  'squashfs-tools': '/usr/bin/mksquashfs',
  sudo: '/usr/bin/sudo',
  syslinux: '/usr/bin/syslinux',
  'syslinux-common': '/usr/lib/syslinux/mbr/mbr.bin',
  'systemd-boot-efi': '/usr/lib/systemd/boot/efi/linuxx64.efi.stub',
  'tesseract-ocr': '/usr/bin/tesseract',
  'tesseract-ocr-eng': '/usr/share/tesseract-ocr/5/tessdata/eng.traineddata',
  swtpm: '/usr/bin/swtpm',
  systemd: '/usr/bin/systemd-cryptenroll',
  tmux: '/usr/bin/tmux',
  uidmap: '/usr/bin/newuidmap',
  zsh: '/usr/bin/zsh',
};

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function say(line) {
  process.stderr.write(`setup: ${line}\n`);
}

function run(argv, options = {}) {
  const result = spawnSync(argv[0], argv.slice(1), { stdio: ['ignore', 2, 2], cwd: root, ...options });
  if (result.status === 0) return;
  say(`${argv.join(' ')} failed (${result.error?.message ?? result.signal ?? `status ${result.status}`})`);
  process.exit(3);
}

function succeeds(argv) {
  return spawnSync(argv[0], argv.slice(1), { stdio: 'ignore' }).status === 0;
}

function installPackages(packages) {
  // In a merged /usr, a package may list its file under /bin or /sbin.
  const missing = Object.entries(packages)
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name);
  const lists = '/var/lib/apt/lists';
  const haveLists =
    existsSync(lists) && readdirSync(lists).some((name) => name.endsWith('_Packages') || name.includes('_Packages.'));
  if (missing.length === 0 && haveLists) return;
  const wanted =
    missing.length === 0 ? 'the package lists (apt-get update)' : `these Debian packages: ${missing.join(' ')}`;
  const sudo = process.getuid() === 0 ? [] : ['sudo', '-n'];
  if (!existsSync('/usr/bin/apt-get') || (sudo.length > 0 && !succeeds([...sudo, 'true']))) {
    say(`missing: ${wanted}`);
    say(
      existsSync('/usr/bin/apt-get')
        ? `install them as root: apt-get update && apt-get install --no-install-recommends ${missing.join(' ')}`
        : 'the demo system is built from Debian packages, but apt-get is not installed',
    );
    process.exit(3);
  }
  say(`installing ${wanted}`);
  run([...sudo, 'apt-get', '-qq', 'update']);
  if (missing.length > 0)
    run([
      ...sudo,
      'env',
      'DEBIAN_FRONTEND=noninteractive',
      'apt-get',
      '-qq',
      '--yes',
      '--no-install-recommends',
      'install',
      ...missing,
    ]);
}

function installNpmPackages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(process.version)
    .digest('hex');
  const stamp = join(root, 'node_modules', '.nixos-disk-image-lock');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  say('installing npm packages');
  run(['npm', 'ci', '--no-fund', '--no-audit', '--loglevel=error']);
  // node-pty is compiled by an install script, which npm may be configured to skip.
  if (!existsSync(join(root, 'node_modules/node-pty/build/Release/pty.node')))
    run(['npm', 'rebuild', 'node-pty', '--ignore-scripts=false']);
  writeFileSync(stamp, lock);
}

function newestSource(directory) {
  return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(?:tsx?|css|js)$/.test(entry.name))
    .reduce((newest, entry) => Math.max(newest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);
}

function build() {
  const stamp = join(root, 'dist', '.built');
  const newest = Math.max(
    ...['lib', 'harness', 'cli', 'vm-images'].map(newestSource),
    statSync(join(root, 'tsconfig.json')).mtimeMs,
  );
  if (existsSync(stamp) && statSync(stamp).mtimeMs > newest) return;
  say('building');
  run(['npm', 'run', '--silent', 'build']);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, '');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    say(`Node.js 20.19 or newer is required; found ${process.version}`);
    process.exit(3);
  }
  installPackages(process.argv.includes('--tests') ? { ...PACKAGES, ...TEST_PACKAGES } : PACKAGES);
  installNpmPackages();
  build();
  run([process.execPath, join(root, 'dist/vm-images/prepare.js')]);
}
