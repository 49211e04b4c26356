import type { Fault } from '../fault.ts';
import { LOADER_CONF, text } from '../parts.ts';

/** Images that look broken but boot, because the loader has an alternative. */
export const HARMLESS: readonly Pick<Fault, 'fault' | 'base' | 'firmware' | 'breakIt' | 'slow'>[] = [
  {
    fault: 'loader.conf names a missing entry',
    ...{ base: 'systemd-boot', firmware: 'efi' },
    breakIt: (image) =>
      image.changeOnEsp(
        LOADER_CONF,
        text((conf) => conf.replace('nixos-generation-1.conf', 'nixos-generation-9.conf')),
      ),
  },
  {
    fault: 'loader.conf contains noise',
    ...{ base: 'systemd-boot', firmware: 'efi' },
    breakIt: (image) => image.changeOnEsp(LOADER_CONF, () => '\u0001\u0002 = [}\n\n'.repeat(40)),
  },
];
