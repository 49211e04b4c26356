import { IMAGE_FORMATS } from '../lib/formats/image-formats.ts';
import { scenario } from './scenario.ts';

for (const format of IMAGE_FORMATS)
  scenario(`${format} boots`, {
    system: 'tiny-grub-hybrid',
    image: { partitionTableType: 'hybrid', format },
    boots: ['bios', 'efi'],
  });
