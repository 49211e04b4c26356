import { Argument, Option } from 'commander';
import { firmwareOption, guestOptions, machineOptions, repeated, wholeNumber } from '../options.ts';
import type { Declaration } from './declare.ts';

export const verify: Declaration = {
  name: 'verify',
  description: 'Boot a disk image, log in, look inside, shut down. The image is only read.',
  arguments: [new Argument('<image>', 'raw, qcow2, vdi or vpc')],
  options: [
    firmwareOption('--firmware <firmware...>', "bios, efi or both; default: what the image's partition table is for"),
    new Option('--toplevel <path>', 'the system that must be the current one'),
    new Option('--check <command...>', 'a shell command that must succeed inside'),
    new Option('--user <name>', 'who logs in on the serial console').default('root'),
    new Option('--password <password>', 'their password; default: none is asked for'),
    new Option('--no-login', 'a login prompt is enough'),
    ...machineOptions(),
    new Option(
      '--timeout <seconds>',
      'until the login prompt, and for each check; default: as long as it goes on',
    ).argParser(wholeNumber),
    ...guestOptions(),
    new Option('--passphrase <passphrase>', 'typed where the boot asks for the passphrase of an encrypted disk'),
    new Option(
      '--passphrase-file <file>',
      'the same, from the first line of a file, so that no list of processes shows it',
    ),
    new Option(
      '--answer <pattern=text>',
      'typed, with Enter, where the console waits at a line that matches the regular expression; may be repeated',
    ).argParser(repeated),
    new Option(
      '--ignore <code>',
      'tolerate a failure or a finding by its name, such as kernel-oops; the report lists it; may be repeated',
    ).argParser(repeated),
    new Option(
      '--allow-reboots <number>',
      'how often the guest may restart itself before the login; default 0',
    ).argParser(wholeNumber),
    new Option(
      '--console',
      'show the serial console on standard error as it comes, with the firmware before each line',
    ),
    new Option(
      '--log <file>',
      "write the console's record; with two firmwares, one file for each: FILE-bios, FILE-efi",
    ),
    new Option('--json', 'print the reports as JSON on standard output'),
    new Option('--junit <file>', 'write the reports as JUnit XML'),
    new Option('--html <file>', 'write the reports as one HTML page'),
    new Option('--summary <file>', 'append a summary in Markdown, such as to "$GITHUB_STEP_SUMMARY"'),
  ],
  examples: `
Examples:
  nixos-disk-image verify nixos.img
  nixos-disk-image verify nixos.qcow2 --firmware efi --check 'systemctl is-active sshd'
  nixos-disk-image verify encrypted.img --passphrase-file pass.txt --console --log console.log
  nixos-disk-image verify appliance.img --answer 'Accept the license\\?=yes' --ignore gpt-backup-damaged`,
  exitStatus: '0 every boot is good, 1 the image is wrong, 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../verify.ts')).verifyCommand(image, flags, signal),
};
