import type { BootReport } from '../verify/boot-report.ts';

const FIRMWARE_NAMES = { bios: 'legacy BIOS', efi: 'EFI', direct: 'direct kernel boot' } as const;

/** What booted it, and the architecture where that is not the usual one. */
export function firmwareName({ firmware, architecture }: Pick<BootReport, 'firmware' | 'architecture'>): string {
  return `${FIRMWARE_NAMES[firmware]}${architecture === 'x86_64' ? '' : `, ${architecture}`}`;
}

/** "once", "2 times" */
export function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`;
}

/** "1 line", "2,000 lines" */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}
