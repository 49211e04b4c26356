import { access, cp, mkdir, mkdtemp, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn as spawnPty } from 'node-pty';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../harness/cache-directory.ts';
import { removeTree } from '../../lib/host-files/private-output.ts';
import { inspectImage } from '../../lib/inspect/inspect-image.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { PRIVATE_NIX } from '../../vm-images/debian-packages.ts';
import { demoInputs, prepareDemo } from '../../vm-images/demo.ts';
import { browserForTests } from '../helpers/browser.ts';
import { codeBlock, commandsOf } from '../helpers/code-blocks.ts';
import { describePng, descriptionOf } from '../helpers/described-png.ts';
import { run } from '../helpers/run.ts';
import { drawTerminal, type Recording, record } from '../helpers/terminal-picture.ts';

// Types the commands in the README and the docs, in their order, in one directory, on a host that has a /nix with
// a NixOS-shaped system in it.

/** $1 is the directory with the contents of /nix; the rest is a command. */
const WITH_NIX = `
work=$1
shift
mount -t tmpfs root "$work/root"
for entry in /*; do
  name=\${entry#/}
  if [ -L "$entry" ]; then cp -P "$entry" "$work/root/$name"
  elif [ "$name" != nix ] && [ -d "$entry" ]; then mkdir "$work/root/$name"; mount --rbind "$entry" "$work/root/$name"
  fi
done
mkdir "$work/root/nix" "$work/root/.old"
mount --rbind "$work/nix" "$work/root/nix"
cd "$work/root"
pivot_root . .old
cd "$work/directory"
umount -l /.old
exec "$@"
`;

let work: string;
let environment: Record<string, string>;
const openPage = browserForTests();
beforeAll(async () => {
  const demo = await prepareDemo();
  work = await mkdtemp(join(tmpdir(), 'ndi-docs-'));
  for (const name of ['root', 'directory/keys', 'directory/site', 'directory/flake', 'bin', 'nixpkgs/nixos'])
    await mkdir(join(work, name), { recursive: true });
  await run(['cp', '--archive', join(demo.store, 'nix'), join(work, 'nix')]);
  await symlink(packageFile('dist/cli/main.js'), join(work, 'bin/nixos-disk-image'));
  const system = `(import ${packageFile('vm-images/demo')} { inputs = "${await demoInputs()}"; }).systems.tiny.grub-hybrid`;
  const files = {
    'nixpkgs/nixos/default.nix': `{ ... }: { system = ${system}; }`,
    'directory/configuration.nix': '{ }',
    'directory/site/index.html': 'hello',
    'directory/keys/alice.pub': 'ssh-ed25519 AAAA',
    'directory/flake/flake.nix': `{ outputs = _: { nixosConfigurations.myhost.config.system.build.toplevel = derivation {
      name = "nixos-system-flake"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }; }; }`,
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(work, name), content);
  const config = `${PRIVATE_NIX.NIX_CONFIG}experimental-features = nix-command flakes\nsandbox-paths = /bin/sh=/bin/busybox\n`;
  environment = {
    ...{ ...PRIVATE_NIX, NIX_CONFIG: config, NIX_PATH: `nixpkgs=${join(work, 'nixpkgs')}` },
    PATH: `${join(work, 'bin')}:${process.env.PATH}`,
  };
});
afterAll(() => removeTree(work));

function inWorkshop(argv: readonly string[]): string[] {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return [
    ...['unshare', ...asRoot, '--mount', '--propagation', 'private', '--'],
    ...['sh', '-euc', WITH_NIX, 'workshop', work, ...argv],
  ];
}

async function type(line: string, directory = '.', status = 0): Promise<string> {
  const script = `cd ${directory} && ${line}`;
  const result = await localExecutor.run(inWorkshop(['bash', '-euc', script]), { env: environment });
  const [stdout, stderr] = [result.stdout.toString('utf8'), result.stderr.toString('utf8')];
  expect(result.exitCode, `${line}\n${stdout}${stderr}`).toBe(status);
  return stdout;
}

/** Types a command at a terminal, and Ctrl-] at the guest's login prompt. */
async function typeAndLeave(line: string): Promise<string> {
  const [program = '', ...args] = inWorkshop(['bash', '-euc', line]);
  const pty = spawnPty(program, args, { env: { ...process.env, ...environment } });
  let shown = '';
  pty.onData((data) => {
    if (!shown.includes('login:') && `${shown}${data}`.includes('login:')) pty.write('\x1d');
    shown += data;
  });
  await new Promise<void>((resolve) => pty.onExit(() => resolve()));
  return shown;
}

test('the README: from the command line', async () => {
  for (const line of commandsOf(codeBlock("nix-build '<nixpkgs/nixos>'"))) {
    if (line.includes(' run ')) expect(await typeAndLeave(line)).toMatch(/login:/);
    else await type(line, line.startsWith('nix build') ? 'flake' : '.');
  }
  expect(await readFile(join(work, 'directory/report.html'), 'utf8')).toMatch(/<h1>[^<]+ boots in /);
});

test('the README: its picture of the report is that page (remove it to have it drawn again)', async () => {
  const picture = packageFile('docs/pictures/report.png');
  const page = await openPage(`file://${join(work, 'directory/report.html')}`, { width: 1000, colorScheme: 'light' });
  // Times and sizes differ from run to run, and so do lines of the console.
  const words = await page.locator('h1, h2, h3, summary').allInnerTexts();
  const plain = words.map((word) => word.replace(/\s+/g, ' ').replace(/[\d.]+/g, '0'));
  const shown = plain.join('\n').replace(/[^\x20-\x7e\n]/g, '?');
  if (await access(picture).catch(() => 'missing')) {
    const clip = { x: 0, y: 0, width: 1000, height: 760 };
    await writeFile(picture, describePng(await page.screenshot({ clip, animations: 'disabled' }), shown));
  }
  expect(shown).toBe(descriptionOf(await readFile(picture)));
});

test('docs/make-disk-image.md: without a VM', async () => {
  const lines = commandsOf(
    codeBlock('nixos-disk-image build --toplevel ./result --partition-table-type hybrid --boot-loader-from'),
  );
  for (const line of lines) {
    // One of them contains the times of its build.
    const said = await type(line, '.', line.startsWith('nixos-disk-image diff') ? 1 : 0);
    if (line.includes('--explain')) expect(said).toContain('because:');
  }
});

test('the README: a job that tells a bad image from a bad runner', async () => {
  await type(codeBlock('nixos-disk-image verify images/nixos.img --json').text);
  expect(JSON.parse(await readFile(join(work, 'directory/reports.json'), 'utf8'))).toMatchObject([
    { ok: true },
    { ok: true },
  ]);
});

test('docs/command-line.md: what makes an image large', async () => {
  for (const line of commandsOf(codeBlock('nixos-disk-image size')))
    expect(await type(line)).toMatch(/^[\d.]+ MiB in \d+ store paths/);
});

test('docs/make-disk-image.md: a specification in a file', async () => {
  await writeFile(join(work, 'directory/image.json'), codeBlock('{\n  "toplevel": "./result"').text);
  for (const line of commandsOf(codeBlock('nixos-disk-image build image.json')))
    expect(await type(line)).toContain('GOOD');
});

test('the README: its picture shows what these commands print (remove it to have it drawn again)', async () => {
  const picture = packageFile('docs/pictures/terminal.svg');
  await cp(join(work, 'directory/images/nixos.img'), join(work, 'directory/broken.img'));
  const esp = (await inspectImage({ image: join(work, 'directory/broken.img') })).partitions.find(
    ({ filesystem }) => filesystem?.type === 'vfat',
  );
  await run(['mdel', '-i', `${join(work, 'directory/broken.img')}@@${esp?.offsetBytes}`, '::/EFI/BOOT/BOOTX64.EFI']);
  const parts: (readonly [string, Recording])[] = [];
  for (const [line, status] of [
    ['nixos-disk-image build --toplevel ./result --partition-table-type hybrid --boot-loader-from bootspec', 0],
    ['nixos-disk-image verify nixos.img', 0],
    ['nixos-disk-image verify broken.img --firmware efi', 1],
  ] as const) {
    // More places than other machines here take, because a verify that waits for one says so.
    const recording = await record(inWorkshop(['bash', '-euc', line]), {
      env: { ...environment, NIXOS_DISK_IMAGE_MACHINES: '99' },
    });
    expect(recording.exitCode, recording.output).toBe(status);
    // The directory has a random name.
    const output = recording.output.replaceAll(join(work, 'directory'), '/home/alice');
    // How much the firmware's shell has printed by then differs.
    const own = output.replace(/ *last lines of the console:.*$/s, '');
    parts.push([line, { ...recording, output: own }]);
  }
  const drawn = await drawTerminal(parts);
  if (await access(picture).catch(() => 'missing')) await writeFile(picture, drawn);
  expect(wordsOf(drawn)).toEqual(wordsOf(await readFile(picture, 'utf8')));
});

test('docs/command-line.md: a finished image becomes smaller', async () => {
  const image = join(work, 'directory/nixos.img');
  await cp(join(work, 'directory/images/nixos.img'), image);
  const before = (await stat(image)).size;
  for (const line of commandsOf(codeBlock('nixos-disk-image shrink')))
    expect(await type(line)).toMatch(/^nixos\.img: .* before, .* now; 6\d(\.\d)? MiB free in its filesystem$/m);
  expect((await stat(image)).size).toBeLessThan(before);
});

/** The words of a picture, without what differs from run to run: times and sizes with their units, the bars drawn from them, and
 *  the hashes of store paths. */
function wordsOf(picture: string): string[] {
  return [...picture.matchAll(/>([^<>]+)<\/tspan>/g)]
    .map(([, word = '']) => word)
    .filter((word) => !/^(?:█+|[\d.]+|min|m?s,?|[KMG]iB\)?,?)$/.test(word))
    .map((word) => word.replaceAll(/(?<=\/nix\/store\/)[a-z0-9]{32}|\d+(?:\.\d+)?/g, '0'));
}

test('docs/secure-boot.md: keys, a signed image, and its boot', async () => {
  const { systems } = await prepareDemo();
  await symlink(systems['tiny-systemd-boot'] ?? '', join(work, 'directory/system'));
  await writeFile(join(work, 'directory/signed.json'), codeBlock('{\n  "toplevel": "./system"').text);
  const [keys = '', build = '', inspect = '', verify = ''] = commandsOf(codeBlock('nixos-disk-image keys generate'));
  await type(keys);
  await type(build);
  expect(await type(inspect)).toContain('signed by CN=nixos-disk-image db, trusted');
  expect(await type(verify)).toContain('GOOD');
});

test('docs/encryption.md: an encrypted and signed image, and its boot', async () => {
  const { systems } = await prepareDemo();
  await symlink(systems['tiny-systemd-boot-luks'] ?? '', join(work, 'directory/encrypted-system'));
  await writeFile(join(work, 'directory/encrypted.json'), codeBlock('{\n  "toplevel": "./encrypted-system"').text);
  // The demo system has the name and the UUID of the configuration.
  const [, device = ''] = /luks\.devices\.cryptroot\.device = "(.*)"/.exec(codeBlock('# encrypted.nix').text) ?? [];
  const [passphrase = '', keys = '', explain = '', build = '', inspect = '', verify = ''] = commandsOf(
    codeBlock('(umask 077'),
  );
  await type(passphrase);
  await type(keys);
  expect(await type(explain)).toContain(`the initrd opens ${device}`);
  await type(build);
  expect(await type(inspect)).toMatch(/LUKS2 \S+ \(1 key slot\), in it ext4 "nixos"/);
  expect(await type(verify)).toContain('GOOD');
});

test('docs/layouts.md: own partitions, and their boot', async () => {
  const { systems } = await prepareDemo();
  await symlink(systems['tiny-systemd-boot-partitions'] ?? '', join(work, 'directory/server'));
  await writeFile(join(work, 'directory/server.json'), codeBlock('{\n  "toplevel": "./server"').text);
  const [explain = '', build = '', inspect = '', verify = ''] = commandsOf(
    codeBlock('nixos-disk-image build server.json'),
  );
  expect(await type(explain)).toContain('xfs "home" at /home');
  await type(build);
  expect(await type(inspect)).toMatch(/btrfs "nix"/);
  expect(await type(verify)).toContain('GOOD');
});

test('docs/layouts.md: definitions of systemd-repart, and the boot of their image', async () => {
  const { systems } = await prepareDemo();
  await symlink(systems['tiny-systemd-boot'] ?? '', join(work, 'directory/efi-system'));
  await mkdir(join(work, 'directory/repart.d'));
  for (const beginning of ['# repart.d/10-esp.conf', '# repart.d/20-root.conf']) {
    const { text } = codeBlock(beginning);
    await writeFile(join(work, 'directory', beginning.slice(2)), text);
  }
  const [build = '', verify = ''] = commandsOf(codeBlock('nixos-disk-image build --toplevel ./efi-system --repart'));
  await type(build);
  expect(await type(verify)).toContain('GOOD');
});

test('docs/layouts.md: the disk of a disko configuration, and its boot', async () => {
  const [evaluate = '', build = '', verify = ''] = commandsOf(
    codeBlock('nix eval --json .#nixosConfigurations.myhost.config.disko.devices'),
  );
  const { devices } = JSON.parse(await readFile(packageFile('test/fixtures/disko/simple-efi.json'), 'utf8'));
  await writeFile(join(work, 'directory/flake/devices.json'), JSON.stringify(devices));
  const flake = await readFile(join(work, 'directory/flake/flake.nix'), 'utf8');
  await writeFile(
    join(work, 'directory/flake/flake.nix'),
    flake.replace(
      '{ outputs = _: {',
      '{ outputs = _: { nixosConfigurations.myhost.config.disko.devices = builtins.fromJSON (builtins.readFile ./devices.json) // { _meta = x: x; };',
    ),
  );
  await symlink(packageFile('.'), join(work, 'directory/flake/nixos-disk-image'));
  await type(evaluate, 'flake');
  await cp(join(work, 'directory/flake/disko.json'), join(work, 'directory/disko.json'));
  await type(build);
  expect(await type(verify)).toContain('GOOD');
});

test('docs/verify.md: images from any builder', async () => {
  for (const name of ['nixos.img', 'appliance.img'])
    await cp(join(work, 'directory/images/nixos.img'), join(work, 'directory', name));
  await cp(join(work, 'directory/images/nixos.qcow2'), join(work, 'directory/debian.qcow2'));
  const commands = commandsOf(codeBlock('nixos-disk-image verify nixos.img'));
  for (const line of commands) await type(line);
  expect(commands.length).toBe(5);
  expect(await readFile(join(work, 'directory/report.xml'), 'utf8')).toContain('<testsuite');
});
