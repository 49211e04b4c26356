import type { Fault } from '../fault.ts';
import { LOADER_CONF, text } from '../parts.ts';

/** What looks broken and boots: the loader has another way. */
export const HARMLESS: readonly Pick<Fault, 'fault' | 'base' | 'firmware' | 'breakIt' | 'slow'>[] = [
  {
    fault: 'loader.conf names an entry that is not there',
    ...{ base: 'systemd-boot', firmware: 'efi' },
    breakIt: (image) =>
      image.changeOnEsp(
        LOADER_CONF,
        text((conf) => conf.replace('nixos-generation-1.conf', 'nixos-generation-9.conf')),
      ),
  },
  {
    fault: 'loader.conf is noise',
    ...{ base: 'systemd-boot', firmware: 'efi' },
    breakIt: (image) => image.changeOnEsp(LOADER_CONF, () => '\u0001\u0002 = [}\n\n'.repeat(40)),
  },
];
