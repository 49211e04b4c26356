import { InvalidArgumentError, Option } from 'commander';

/** How several commands read their arguments. */

export function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('must be a whole number above 0');
  return Number(text);
}

/** Collects an option that may be given several times. */
export function repeated(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** "legacy" is the old name of "bios". */
export function firmwareOption(flags: string, description: string): Option {
  const option = new Option(flags, description).choices(['bios', 'efi']);
  const parse = option.parseArg;
  return option.argParser<unknown>((value, previous) => parse?.(value === 'legacy' ? 'bios' : value, previous));
}

/** The machine of those commands that boot one. */
export function machineOptions(): Option[] {
  return [
    new Option('--memory <MiB>', 'default 1024').argParser(wholeNumber),
    new Option('--disk-interface <interface>', 'default virtio').choices(['virtio', 'ahci', 'nvme']),
    new Option('--accel <accelerator>', 'default: KVM where a probe finds that it works').choices(['kvm', 'tcg']),
  ];
}
