import { createHash } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseGrubMenu } from '../../../../lib/inspect/grub-menu.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { installGrub } from '../../../../lib/steps/install-grub.ts';
import { installSystemdBoot } from '../../../../lib/steps/install-systemd-boot.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { partitionDisk } from '../../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { bootJson, fakeSystem, HASH, storePath } from '../../../helpers/fake-system.ts';
import {
  GRUB_BOTH_CONFIG,
  type GRUB_CONFIG,
  grubFiles,
  installLine,
  type SystemdBootConfig,
  systemdBootFiles,
} from '../../../helpers/nixos-loader.ts';
import { run } from '../../../helpers/run.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

const ROOT_UUID = 'f222513b-ded1-49fa-b591-20ce86a2fe7f';
const MTOOLS = { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1' };

/** Installs a system's GRUB into an image with the layout, and reads its /boot. */
async function grub(
  config: Partial<typeof GRUB_CONFIG>,
  {
    type = 'legacy',
    json = bootJson(),
    files = {},
    around = {},
    more = {},
  }: {
    type?: 'legacy' | 'hybrid' | 'efixbootldr';
    json?: unknown;
    files?: Record<string, string>;
    around?: { before?: string; after?: string };
    more?: object;
  } = {},
) {
  const directory = await tempDirectory();
  const [image, stagedRoot] = [join(directory, 'disk.img'), join(directory, 'root')];
  await mkdir(stagedRoot);
  await createDisk({ image, sizeBytes: 256 * MIB });
  const disk = await partitionDisk({ image, partitionTableType: type, bootSize: '150M' });
  for (const partition of disk.partitions)
    if (partition.label !== undefined)
      await makeBootFilesystem({ image, partition, label: partition.label, volumeId: '1C06F03B' });
  const system = await fakeSystem(join(directory, 'store'), {
    json,
    files: { ...(await grubFiles(config, around)), ...files },
  });
  const installed = await installGrub({
    ...{ image, disk, stagedRoot, rootUuid: ROOT_UUID, rootLabel: 'nixos', store: system.store },
    firmware: type === 'legacy' ? ['bios'] : type === 'hybrid' ? ['bios', 'efi'] : ['efi'],
    ...{ generations: [{ number: 1, toplevel: system.toplevel }], timestamp: 1 },
    ...more,
  });
  const boot = disk.partitions.find(({ mountPoint }) => mountPoint === '/boot');
  const show = async (file: string): Promise<string> =>
    boot === undefined
      ? readFile(join(stagedRoot, 'boot', file), 'latin1')
      : run(['mtype', '-i', `${image}@@${boot.offsetBytes}`, `::/${file}`], { env: MTOOLS });
  const onEsp = (): Promise<string> =>
    run(['mdir', '-b', '-/', '-i', `${image}@@${disk.esp?.offsetBytes}`, '::/'], { env: MTOOLS });
  const menu = await show('grub/grub.cfg');
  const file = join(directory, 'grub.cfg');
  await run(['sh', '-c', 'cat > "$0"', file], { input: menu });
  await run(['grub-script-check', file]);
  return { installed, menu, show, onEsp, stagedRoot };
}

describe('GRUB', () => {
  test.each<[string, Partial<typeof GRUB_CONFIG>, (string | RegExp)[]]>([
    ['the timeout', { timeout: 1 }, ['set timeout=1\nfi']],
    ['no timeout', { timeout: -1 }, ['set timeout=-1\nfi']],
    ['timeoutStyle', { timeoutStyle: 'hidden' }, ['set timeout_style=hidden']],
    ['the default', { default: '2' }, ['set default="2"']],
    ['the default: the entry booted last', { default: 'saved' }, ['set default="$saved_entry"', '{\n  savedefault\n']],
    [
      'entryOptions and subEntryOptions',
      { entryOptions: '--class x --users ""', subEntryOptions: '--class y' },
      ['menuentry "NixOS" --class x --users "" {', /menuentry "NixOS - Configuration 1 .*" --class y \{/],
    ],
    ['extraConfig', { extraConfig: 'set color_normal=red/black\n' }, ['set color_normal=red/black\n']],
    ['extraPerEntryConfig', { extraPerEntryConfig: 'root (hd0)\n' }, [/menuentry "NixOS" [^}]*\n {2}root \(hd0\)\n/]],
    [
      'extraEntries, with @bootRoot@',
      { extraEntries: 'menuentry "memtest" {\n  linux @bootRoot@/memtest.bin\n}\n' },
      [/menuentry "NixOS" [\s\S]*menuentry "memtest" \{\n {2}linux \(\$drive1\)\/boot\/memtest.bin\n/],
    ],
    [
      'extraEntriesBeforeNixOS',
      { extraEntries: 'menuentry "first" {\n true\n}\n', extraEntriesBeforeNixOS: true },
      [/menuentry "first" [\s\S]*menuentry "NixOS" /],
    ],
    [
      'users, whose passwords protect the command line from a person at the machine',
      { users: { root: { hashedPassword: 'grub.pbkdf2.sha512.10000.AB.CD' }, guest: { password: "it's $one" } } },
      [
        'set superusers="guest root"\n',
        'password_pbkdf2 root grub.pbkdf2.sha512.10000.AB.CD\n',
        "password guest 'it'\\''s $one'\n",
      ],
    ],
    ['fsIdentifier', { fsIdentifier: 'label' }, ['search --no-floppy --set=drive1 --label nixos\n']],
    ['copyKernels', { copyKernels: true }, [`linux ($drive1)/boot/kernels/${HASH}-linux-bzImage `]],
    ['configurationLimit', { configurationLimit: 0 }, [/^(?![\s\S]*submenu)/]],
  ])('%s', async (_, config, expected) => {
    const { menu } = await grub(config);
    for (const words of expected)
      if (typeof words === 'string') expect(menu).toContain(words);
      else expect(menu).toMatch(words);
    expect(parseGrubMenu('/boot/grub/grub.cfg', 1, menu).entries.length).toBeGreaterThan(0);
  });

  test('the state file makes the next run of NixOS’s installer see no change', async () => {
    const both = await grub(GRUB_BOTH_CONFIG, { type: 'hybrid' });
    expect(await both.show('grub/state')).toBe('grub\n2.12\nboth\n/dev/sda\n/boot\n{"extraGrubInstallArgs":[]}\n');
    const modules = ['--modules=nativedisk ahci'];
    const bios = await grub({ devices: ['/dev/sda', '/dev/sdb'], extraGrubInstallArgs: modules });
    expect(await bios.show('grub/state')).toBe(
      'grub\n2.12\nno\n/dev/sda,/dev/sdb\n/boot\n{"extraGrubInstallArgs":["--modules=nativedisk ahci"]}\n',
    );
    expect(await bios.show('grub/grubenv')).toMatch(/^# GRUB Environment Block\n#+$/);
    expect((await bios.show('grub/grubenv')).length).toBe(1024);
    // It may contain passwords.
    expect((await stat(join(bios.stagedRoot, 'boot/grub'))).mode & 0o7777).toBe(0o700);
  });

  test('fonts, pictures and themes are in the directory of the menu', async () => {
    const theme = storePath('theme');
    const { menu, show } = await grub(
      {
        ...{ font: `${storePath('grub-2.12')}/share/grub/unicode.pf2`, splashImage: storePath('splash.jpg') },
        ...{ backgroundColor: '#2F302F', splashMode: 'normal', theme, gfxmodeBios: 'auto' },
      },
      {
        files: {
          [`${storePath('grub-2.12')}/share/grub/unicode.pf2`]: 'FILE font',
          [storePath('splash.jpg')]: 'JFIF',
          [`${theme}/theme.txt`]: 'title-text: ""\n',
          [`${theme}/icons/nixos.png`]: 'PNG',
          [`${theme}/sans.pf2`]: 'FILE sans',
        },
      },
    );
    expect(await show('converted-font.pf2')).toBe('FILE font');
    expect(await show('background.jpeg')).toBe('JFIF');
    expect(await show('theme/icons/nixos.png')).toBe('PNG');
    for (const words of [
      'if loadfont ($drive1)/boot/converted-font.pf2; then',
      'set gfxmode=auto',
      "background_color '#2F302F'",
      'insmod jpeg\nif background_image --mode normal ($drive1)/boot/background.jpeg; then',
      'insmod png\nset theme=($drive1)/boot/theme/theme.txt',
      'loadfont ($drive1)/boot/theme/sans.pf2',
    ])
      expect(menu).toContain(words);
  });

  test('extraFiles are copied to /boot or the ESP, in the formats of both NixOS releases', async () => {
    const memtest = storePath('memtest86-plus.bin');
    const files = { [memtest]: 'memtest' };
    const old = {
      extraPrepareConfig: `${storePath('coreutils-9.5')}/bin/cp -pf "${memtest}" "@bootPath@/memtest.bin"\n`,
    };
    expect(await (await grub(old, { files })).show('memtest.bin')).toBe('memtest');
    const onEsp = { ...GRUB_BOTH_CONFIG, efiSysMountPoint: '/efi' };
    const { onEsp: list } = await grub(
      {
        ...onEsp,
        extraPrepareConfig: `${storePath('coreutils-9.5')}/bin/install -Dp ${memtest} /efi/'tools/mem test.bin'\n`,
      },
      { type: 'efixbootldr', files },
    );
    expect(await list()).toContain('::/tools/mem test.bin');
  });

  test('a loader that is not only at the removable media path also has its own directory', async () => {
    expect(await (await grub(GRUB_BOTH_CONFIG, { type: 'hybrid' })).onEsp()).toContain('::/EFI/NixOS-boot/grubx64.efi');
    const removable = await grub({ ...GRUB_BOTH_CONFIG, efiInstallAsRemovable: true }, { type: 'hybrid' });
    expect(await removable.onEsp()).not.toContain('NixOS-boot');
    expect(await removable.onEsp()).toContain('::/EFI/BOOT/BOOTX64.EFI');
  });

  test('specialisations have their configuration’s name; generations with specialisations have a submenu', async () => {
    const quiet = storePath('nixos-system-quiet');
    const { menu } = await grub(
      {},
      {
        json: bootJson({}, { quiet: bootJson({ toplevel: quiet }) }),
        files: {
          [`${quiet}/configuration-name`]: 'Very quiet',
          [`${storePath('nixos-system-fake')}/nixos-version`]: '25.11.20251101.abc',
        },
        more: { timeoutSeconds: 'none' },
      },
    );
    expect(menu.match(/(menuentry|submenu) ".*?"/g)).toEqual([
      'menuentry "NixOS - Default"',
      'menuentry "NixOS - Very quiet"',
      'submenu "NixOS - All configurations"',
      'submenu "NixOS - Configuration 1 (1970-01-01 - 25.11.20251101.abc)"',
      'menuentry "NixOS - Configuration 1 - Default (1970-01-01 - 25.11.20251101.abc)"',
      'menuentry "NixOS - Configuration 1 - Very quiet"',
    ]);
    expect(menu).toContain('set timeout=-1');
  });

  test('a hypervisor that starts the kernel is refused', async () => {
    const files = { [`${storePath('nixos-system-fake')}/xen.gz`]: 'xen' };
    await expect(grub({}, { files })).rejects.toThrow('virtualisation.xen.enable');
  });

  test('kernel parameters are written as NixOS writes them, with quotes that GRUB removes', async () => {
    const json = bootJson({ kernelParams: ['dyndbg="file x +p"', 'memmap=1G\\$2G'] });
    expect((await grub({}, { json })).menu).toContain('/init dyndbg="file x +p" memmap=1G\\$2G\n');
  });

  test('a label with a space is one word', async () => {
    const { menu } = await grub({ fsIdentifier: 'label' }, { more: { rootLabel: 'my disk' } });
    expect(menu).toContain("--set=drive1 --label 'my disk'\n");
  });

  test('the system’s own settings for serial terminals are used', async () => {
    const extraConfig = 'serial --unit=0 --speed=9600\nterminal_input --append serial\n';
    expect((await grub({ extraConfig })).menu).not.toContain('115200\n');
  });

  test.each<[string, Partial<typeof GRUB_CONFIG>, { before?: string; after?: string }]>([
    ['extraInstallCommands', {}, { after: 'echo done > /boot/marker' }],
    ['extraInstallCommands', {}, { after: 'true' }],
    ['extraPrepareConfig', { extraPrepareConfig: 'cp $x /boot/y\n' }, {}],
    ['enableCryptodisk', {}, { before: 'export GRUB_ENABLE_CRYPTODISK=y' }],
    ['mirroredBoots', { bootPath: '/boot1' }, {}],
    ['storePath', { storePath: '/@nix/store' }, {}],
    ['extraGrubInstallArgs', { extraGrubInstallArgs: ['--themes='] }, {}],
    ['users.root.hashedPasswordFile', { users: { root: { hashedPasswordFile: '/etc/grub-password' } } }, {}],
    ['users.root', { users: { root: { hashedPassword: null, password: '' } } }, {}],
    ['font', { font: storePath('nothing.pf2') }, {}],
    ['theme', { theme: storePath('no-theme') }, {}],
  ])('%s is refused by name if only NixOS’s installer supports it', async (option, config, around) => {
    await expect(grub(config, { around })).rejects.toThrow(`boot.loader.grub.${option}`);
  });
});

/** Installs a system's systemd-boot, and reads its boot partition. */
async function systemdBoot(config: SystemdBootConfig, more: object = {}, files: Record<string, string> = {}) {
  const directory = await tempDirectory();
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 160 * MIB });
  const { esp } = await partitionDisk({ image, partitionTableType: 'efi', bootSize: '64M' });
  if (esp === undefined) throw new Error('no ESP');
  await makeBootFilesystem({ image, partition: esp });
  const system = await fakeSystem(join(directory, 'store'), { files: { ...systemdBootFiles(config), ...files } });
  const installed = await installSystemdBoot({
    ...{ image, esp, generations: [{ number: 1, toplevel: system.toplevel }], store: system.store, timestamp: 1 },
    ...more,
  });
  const at = `${image}@@${esp.offsetBytes}`;
  const show = (file: string): Promise<string> => run(['mtype', '-i', at, `::/${file}`], { env: MTOOLS });
  return { installed, show, conf: await show('loader/loader.conf') };
}

describe('systemd-boot', () => {
  test.each<[string, SystemdBootConfig, object, string]>([
    ['defaults', {}, {}, 'timeout 5\ndefault nixos-generation-1.conf\nconsole-mode keep\n'],
    [
      'timeout, editor, console mode, BitLocker',
      { timeout: '0', editor: false, consoleMode: 'max', rebootForBitlocker: true },
      {},
      'timeout 0\ndefault nixos-generation-1.conf\neditor 0\nreboot-for-bitlocker yes\nconsole-mode max\n',
    ],
    [
      'no timeout',
      { timeout: 'menu-force' },
      {},
      'timeout menu-force\ndefault nixos-generation-1.conf\nconsole-mode keep\n',
    ],
    [
      'the caller’s settings instead',
      { editor: false, timeout: '9' },
      { timeoutSeconds: 'none', editor: true, consoleMode: '1' },
      'timeout menu-force\ndefault nixos-generation-1.conf\nconsole-mode 1\n',
    ],
  ])('%s', async (_, config, more, expected) => {
    expect((await systemdBoot(config, more)).conf).toBe(expected);
  });

  test('entries are named by a hash of their text, if the system’s installer does that', async () => {
    const { installed, show, conf } = await systemdBoot(
      { byHash: true },
      { machineId: '0123456789abcdef0123456789abcdef' },
    );
    const [entry = ''] = installed.esp.filter((file) => file.startsWith('loader/entries/'));
    const text = await show(entry);
    expect(text).toMatch(
      /^title NixOS\nversion Generation 1 .*\nlinux .*\ninitrd .*\noptions init=.*\nmachine-id 0123456789abcdef0123456789abcdef\nsort-key nixos$/,
    );
    const hash = createHash('sha256').update(text).digest('hex');
    expect(entry).toBe(`loader/entries/nixos-${hash}.conf`);
    expect(conf).toContain(`default nixos-${hash}.conf\n`);
  });

  test('with boot counting, an entry has a number of tries, and the newest good one is the default', async () => {
    const { installed, conf } = await systemdBoot({ byHash: true, bootCounting: 4 });
    const [entry = ''] = installed.esp.filter((file) => file.startsWith('loader/entries/'));
    expect(entry).toMatch(/^loader\/entries\/nixos-[0-9a-f]{64}\+4\.conf$/);
    expect(conf).toContain(`preferred ${installed.defaultEntry}\ndefault nixos-*\n`);
    expect(entry).toContain(installed.defaultEntry.replace('.conf', ''));
  });

  test('extra files and entries are installed, with the marks that the next run looks for', async () => {
    const shell = `${storePath('edk2-shell')}/shell.efi`;
    const { show } = await systemdBoot(
      {
        copies: [
          installLine(shell, '/boot', 'efi/edk2-uefi-shell/shell.efi'),
          installLine('/dev/null', '/boot//EFI/nixos/.extra-files', 'efi/edk2-uefi-shell/shell.efi'),
          installLine(
            storePath('my entry.conf').replace(' ', '-'),
            '/boot/loader/entries',
            "it's mine.conf".replace("'", ''),
          ),
        ].join(''),
      },
      {},
      { [shell]: 'MZ shell', [storePath('my-entry.conf')]: 'title mine\n' },
    );
    expect(await show('efi/edk2-uefi-shell/shell.efi')).toBe('MZ shell');
    expect(await show('EFI/nixos/.extra-files/efi/edk2-uefi-shell/shell.efi')).toBe('');
    expect(await show('loader/entries/its mine.conf')).toBe('title mine\n');
  });

  test('an extra file replaces the installer’s own', async () => {
    const shim = `${storePath('shim')}/shim.efi`;
    const { show } = await systemdBoot(
      { copies: installLine(shim, '/boot', 'efi/boot/bootx64.efi') },
      {},
      { [shim]: 'MZ shim' },
    );
    expect(await show('EFI/BOOT/BOOTX64.EFI')).toBe('MZ shim');
  });

  test('the installer of a release with settings elsewhere is refused', async () => {
    const old = { [`${storePath('systemd-boot')}/bin/systemd-boot`]: '#!python3\nf.write("timeout 0\\n")\n' };
    await expect(systemdBoot({}, {}, old)).rejects.toThrow(
      /boot\.loader\.systemd-boot: cannot be read from the installer/,
    );
  });

  test.each<[string, SystemdBootConfig]>([
    ['extraInstallCommands', { after: 'sed -i s/a/b/ /boot/loader/loader.conf' }],
    ['extraFiles', { copies: 'curl -o /boot/x http://example.org\n' }],
    ['extraFiles', { copies: installLine(storePath('nothing'), '/boot', 'x') }],
  ])('%s is refused by name if only NixOS’s installer supports it', async (option, config) => {
    await expect(systemdBoot(config)).rejects.toThrow(`boot.loader.systemd-boot.${option}`);
  });
});
