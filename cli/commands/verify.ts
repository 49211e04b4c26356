import { Argument, Option } from 'commander';
import {
  firmwareOption,
  guestOptions,
  machineOptions,
  READ_FORMATS,
  repeated,
  secureBootOptions,
  tpmOptions,
  wholeNumber,
} from '../options.ts';
import type { Declaration } from './declare.ts';

export const verify: Declaration = {
  name: 'verify',
  description: 'Boot a disk image, log in, run checks inside, and shut it down. The image is never written to.',
  arguments: [new Argument('<image>', READ_FORMATS)],
  options: [
    firmwareOption(
      '--firmware <firmware...>',
      'firmware to boot with: bios, efi or both; default: what the partition table of the image is for',
    ),
    new Option('--toplevel <path>', 'system that must be the running one'),
    new Option('--check <command...>', 'shell command that must succeed in the guest'),
    new Option('--user <name>', 'user to log in as on the serial console').default('root'),
    new Option('--password <password>', 'password of that user; default: none'),
    new Option('--no-login', 'do not log in: a login prompt is enough'),
    ...machineOptions(),
    new Option(
      '--timeout <seconds>',
      'limit for reaching the login prompt, and for each check; default: none, as long as the machine makes progress',
    ).argParser(wholeNumber),
    ...guestOptions(),
    ...secureBootOptions(),
    ...tpmOptions(),
    new Option('--passphrase <passphrase>', 'typed where the boot asks for the passphrase of an encrypted disk'),
    new Option(
      '--passphrase-file <file>',
      'the same, from a file or a descriptor such as /dev/fd/3, so that no list of processes shows it',
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
    new Option('-q, --quiet', 'show the reports and failures only'),
    new Option('--json', 'print the reports as JSON on standard output'),
    new Option('--junit <file>', 'write the reports as JUnit XML'),
    new Option('--sarif <file>', 'write the failures as SARIF 2.1.0, for services that show findings'),
    new Option('--html <file>', 'write the reports as one HTML page'),
    new Option('--annotations <file>', 'write the failures as workflow commands of GitHub Actions'),
    new Option(
      '--compare <file>',
      'say which stage got slower or faster since an earlier run, from what --json wrote then',
    ),
    new Option('--summary <file>', 'append a summary in Markdown, such as to "$GITHUB_STEP_SUMMARY"'),
  ],
  examples: `
Examples:
  nixos-disk-image verify nixos.img
  nixos-disk-image verify nixos.qcow2 --firmware efi --check 'systemctl is-active sshd'
  nixos-disk-image verify encrypted.img --passphrase-file pass.txt --console --log console.log
  nixos-disk-image verify nixos.img --html report.html --compare before.json
  nixos-disk-image verify appliance.img --answer 'Accept the license\\?=yes' --ignore gpt-backup-damaged`,
  exitStatus: '0 every boot is good, 1 the image is wrong, 2 usage, 3 the host lacks or failed something',
  run: async ({ arguments: [image = ''], flags, signal }) =>
    (await import('../verify.ts')).verifyCommand(image, flags, signal),
};
