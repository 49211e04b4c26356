import { Command, InvalidArgumentError, Option } from 'commander';
import { ROOT_FILESYSTEMS } from '../lib/filesystem/root-filesystem.ts';
import { IMAGE_FORMATS } from '../lib/formats/image-formats.ts';
import { PARTITION_TABLE_TYPES } from '../lib/formats/layouts.ts';
import { BOOT_LOADER_WAYS, BOOT_LOADERS } from '../lib/spec/image-spec.ts';
import { EXIT } from './exit-codes.ts';

const wholeNumber = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('must be a whole number above 0');
  return Number(text);
};

/** The command line: every command, its arguments and its help.
 *  @param signal ends what a command does, in order. */
export function makeProgram(version: string, signal: AbortSignal): Command {
  const program = new Command('nixos-disk-image')
    .description('Builds NixOS disk images from system closures, and boots images to see that they do.')
    .version(version)
    .showSuggestionAfterError()
    .showHelpAfterError('(--help shows all options)')
    .exitOverride();

  program
    .command('build')
    .description('Build a disk image from a NixOS system closure.')
    .argument(
      '[specification]',
      "a JSON, YAML or TypeScript file with make-disk-image's options; the flags below override it",
    )
    .option('--toplevel <path>', 'the NixOS system: a store path, or a link to one such as ./result')
    .option('--store <directory>', "a private store's directory that holds it; default: the host's store")
    .option('--closure-info <directory>', 'a closureInfo directory (store-paths, registration)')
    .option('-o, --out <directory>', 'where the image goes', '.')
    .addOption(new Option('--partition-table-type <type>', 'the layout; default legacy').choices(PARTITION_TABLE_TYPES))
    .addOption(new Option('--format <format>', 'the image format; default raw').choices(IMAGE_FORMATS))
    .option('--disk-size <size|auto>', '"20G", or a number of MiB; default auto')
    .option('--additional-space <size>', 'free space with --disk-size auto; default 512M')
    .option('--boot-size <size>', 'where the boot partition ends; default 256M')
    .option('--label <label>', 'of the root filesystem; default nixos')
    .option('--base-name <name>', 'of the image file; default nixos')
    .option('--config-file <file>', 'becomes /etc/nixos/configuration.nix')
    .addOption(new Option('--fs-type <type>', 'the root filesystem; default ext4').choices(ROOT_FILESYSTEMS))
    .addOption(
      new Option(
        '--boot-loader-from <way>',
        "who installs the boot loader: the system's own program in a VM (default), or this host from boot.json: no VM, no root",
      ).choices(BOOT_LOADER_WAYS),
    )
    .addOption(
      new Option(
        '--boot-loader <loader>',
        'with --boot-loader-from bootspec; default: the one the system is for',
      ).choices(BOOT_LOADERS),
    )
    .option('--touch-efi-vars', 'keep a store of EFI variables beside the image, with a boot entry: efi-vars.fd')
    .option('--only-nix-store', 'only the store paths, at the root of the filesystem')
    .option('--reproducible', 'the same bytes each time')
    .option('--no-install-boot-loader', 'do not run switch-to-configuration')
    .option('--container <image>', 'run the programs in a container of this image: see vm-images/toolbox')
    .option('--verify', 'boot the finished image in every firmware it is made for')
    .option('--explain', 'print which way each phase would go, and why; build nothing')
    .option('--json', 'print the result as JSON on standard output')
    .option('-v, --verbose', 'show every command and its output')
    .addHelpText(
      'after',
      `
Examples:
  nix-build '<nixpkgs/nixos>' -A system -I nixos-config=./configuration.nix
  nixos-disk-image build --toplevel ./result --partition-table-type hybrid --out images --verify
  nixos-disk-image build image.json --format qcow2-compressed

Exit status: 0 good, 1 the system or the image is wrong, 2 usage, 3 the host lacks or failed something.`,
    )
    .action((specification: string | undefined, options) =>
      finish(async () => (await import('./build.ts')).buildCommand(specification, options, signal)),
    );

  program
    .command('verify')
    .description('Boot a disk image, log in, look inside, shut down. The image is only read.')
    .argument('<image>', 'raw, qcow2, vdi or vpc')
    .addOption(
      firmwareOption('--firmware <firmware...>', "bios, efi or both; default: what the image's partition table is for"),
    )
    .option('--toplevel <path>', 'the system that must be the current one')
    .option('--check <command...>', 'a shell command that must succeed inside')
    .option('--user <name>', 'who logs in on the serial console', 'root')
    .option('--password <password>', 'their password; default: none is asked for')
    .option('--no-login', 'a login prompt is enough')
    .option('--memory <MiB>', 'default 1024', wholeNumber)
    .addOption(new Option('--disk-interface <interface>', 'default virtio').choices(['virtio', 'ahci', 'nvme']))
    .addOption(
      new Option('--accel <accelerator>', 'default: KVM where a probe finds that it works').choices(['kvm', 'tcg']),
    )
    .option(
      '--timeout <seconds>',
      'until the login prompt, and for each check; default: as long as it goes on',
      wholeNumber,
    )
    .option(
      '--efi-vars <file>',
      'a store of EFI variables, such as efi-vars.fd: the firmware starts what its boot order says',
    )
    .option('--kernel-parameters <words>', 'added by systemd-boot 254 and newer, such as console=ttyS0')
    .option('--passphrase <passphrase>', 'typed where the boot asks for the passphrase of an encrypted disk')
    .option(
      '--passphrase-file <file>',
      'the same, from the first line of a file, so that no list of processes shows it',
    )
    .option(
      '--answer <pattern=text>',
      'typed, with Enter, where the console waits at a line that matches the regular expression; may be repeated',
      repeated,
    )
    .option(
      '--ignore <code>',
      'tolerate a failure or a finding by its name, such as kernel-oops; the report lists it; may be repeated',
      repeated,
    )
    .option(
      '--allow-reboots <number>',
      'how often the guest may restart itself before the login; default 0',
      wholeNumber,
    )
    .option(
      '--credential <name=value>',
      'a system credential of systemd, passed through SMBIOS; may be repeated',
      repeated,
    )
    .option('--console', 'show the serial console on standard error as it comes, with the firmware before each line')
    .option('--log <file>', "write the console's record; with two firmwares, one file for each: FILE-bios, FILE-efi")
    .option('--json', 'print the reports as JSON on standard output')
    .option('--junit <file>', 'write the reports as JUnit XML')
    .option('--html <file>', 'write the reports as one HTML page')
    .addHelpText(
      'after',
      `
Examples:
  nixos-disk-image verify nixos.img
  nixos-disk-image verify nixos.qcow2 --firmware efi --check 'systemctl is-active sshd'
  nixos-disk-image verify encrypted.img --passphrase-file pass.txt --console --log console.log
  nixos-disk-image verify appliance.img --answer 'Accept the license\\?=yes' --ignore gpt-backup-damaged

Exit status: 0 every boot is good, 1 the image is wrong, 2 usage, 3 the host lacks or failed something.`,
    )
    .action((image: string, options) =>
      finish(async () => (await import('./verify.ts')).verifyCommand(image, options, signal)),
    );

  program
    .command('inspect')
    .description(
      'Say what is on a disk image, without booting it: partitions, filesystems, what firmware and loader start, generations, what is wrong.',
    )
    .argument('<image>', 'raw, qcow2, vdi or vpc; only read')
    .option(
      '--deep',
      "have each filesystem's own program check it, on a copy in TMPDIR: e2fsck, fsck.vfat, btrfs, xfs_repair, fsck.f2fs",
    )
    .option('--timeout <seconds>', 'leave out what is not looked at by then; default 60, with --deep 600', wholeNumber)
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Examples:
  nixos-disk-image inspect nixos.qcow2
  nixos-disk-image inspect nixos.img --deep

Exit status: 0, or 1 when something in it cannot work; 2 usage, 3 the host lacks or failed something.`,
    )
    .action((image: string, options) =>
      finish(async () => (await import('./inspect.ts')).inspectCommand(image, options, signal)),
    );

  program
    .command('diff')
    .description('Say where two disk images differ: container, partition table, filesystem, path, field.')
    .argument('<a>', 'raw, qcow2, vdi or vpc')
    .argument('<b>', 'raw, qcow2, vdi or vpc')
    .option('--timeout <seconds>', 'leave out what is not compared by then, and report that; default 60', wholeNumber)
    .option('--json', 'print the differences as JSON on standard output')
    .addHelpText(
      'after',
      `
Example:
  nixos-disk-image diff nixos.img again/nixos.img

Exit status: 0 they are the same, 1 they differ, 2 usage, 3 the host lacks or failed something.`,
    )
    .action((a: string, b: string, options) =>
      finish(async () => (await import('./diff.ts')).diffCommand(a, b, options, signal)),
    );

  program
    .command('schema')
    .description('Print the JSON Schema of an image specification, for an editor to complete and check it.')
    .addHelpText(
      'after',
      `
Example:
  nixos-disk-image schema > image.schema.json      then, in image.yaml:  # yaml-language-server: $schema=image.schema.json`,
    )
    .action(() =>
      finish(async () => {
        const { imageSpecJsonSchema } = await import('../lib/spec/image-spec.ts');
        process.stdout.write(`${JSON.stringify(imageSpecJsonSchema(), undefined, 2)}\n`);
        return EXIT.good;
      }),
    );

  program
    .command('run')
    .description(
      'Boot a disk image with this terminal as its serial console. What the guest writes is thrown away. Ctrl-] ends it.',
    )
    .argument('<image>', 'raw, qcow2, vdi or vpc')
    .addOption(firmwareOption('--firmware <firmware>', "default: what the image's partition table is for"))
    .option('--memory <MiB>', 'default 1024', wholeNumber)
    .addOption(new Option('--disk-interface <interface>', 'default virtio').choices(['virtio', 'ahci', 'nvme']))
    .addOption(
      new Option('--accel <accelerator>', 'default: KVM where a probe finds that it works').choices(['kvm', 'tcg']),
    )
    .addHelpText(
      'after',
      `
Examples:
  nixos-disk-image run nixos.img --firmware efi
  nixos-disk-image run nixos.img < /dev/null | tee console.log

Exit status: 0 the guest powered off, or was ended by Ctrl-] or by its reader; 1 it restarted itself or panicked; 2 usage, 3 the host lacks or failed something, 130 interrupted.`,
    )
    .action((image: string, options) =>
      finish(async () => (await import('./run.ts')).runCommand(image, options, signal)),
    );

  program
    .command('doctor')
    .description(
      'List the programs this needs, their versions and what is missing, the firmware, and whether KVM works.',
    )
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExit status: 0 when nothing needed is missing, else 3.')
    .action((options) => finish(async () => (await import('./doctor.ts')).doctorCommand(options)));

  return program;
}

/** "legacy" is the old name of "bios". */
function firmwareOption(flags: string, description: string): Option {
  const option = new Option(flags, description).choices(['bios', 'efi']);
  const parse = option.parseArg;
  return option.argParser<unknown>((value, previous) => parse?.(value === 'legacy' ? 'bios' : value, previous));
}

/** Collects an option that may be given several times. */
function repeated(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** Each command brings its own modules: `build` needs nothing of what boots machines. */
async function finish(command: () => Promise<number>): Promise<void> {
  process.exitCode = await command();
}
