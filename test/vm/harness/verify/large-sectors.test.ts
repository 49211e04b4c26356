import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderText } from '../../../../harness/report/text.ts';
import { verifyBoot } from '../../../../harness/verify/verify-boot.ts';
import { DETERMINISTIC_DISK_GUID } from '../../../../lib/formats/layouts.ts';
import { encodeGpt } from '../../../../lib/formats/partition-table/gpt.ts';
import { gptTypeGuid } from '../../../../lib/formats/partition-table/types.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { extractFilesystem } from '../../../../lib/steps/extract-filesystem.ts';
import { fillBootFilesystem } from '../../../../lib/steps/fill-boot-filesystem.ts';
import { makeBootFilesystem } from '../../../../lib/steps/make-boot-filesystem.ts';
import { demoImage } from '../../../helpers/demo-image.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

// Debian 12's systemd-boot has the version 252. systemd-repart --sector-size=4096 makes such disks.
test('systemd-boot that finds no XBOOTLDR partition on a disk with sectors of 4096 bytes', async () => {
  const built = await demoImage('tiny-systemd-boot', {
    ...{ partitionTableType: 'efixbootldr', bootSize: '240M', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
  const work = await tempDirectory();
  const image = join(work, 'large.img');
  await createDisk({ image, sizeBytes: built.virtualBytes });
  const partitions = built.disk.partitions.map((one) => ({
    ...{ number: one.number, guid: one.partitionUuid, name: one.role },
    type: gptTypeGuid(one.role === 'root' ? 'linux-generic' : one.role),
    firstSector: one.offsetBytes / 4096,
    lastSector: Math.floor((one.offsetBytes + one.sizeBytes) / 4096) - 1,
  }));
  {
    await using disk = await open(image, 'r+');
    for (const { offsetBytes, bytes } of encodeGpt(built.virtualBytes, 4096, DETERMINISTIC_DISK_GUID, partitions))
      await disk.write(bytes, 0, bytes.length, offsetBytes);
  }
  for (const partition of built.disk.partitions) {
    if (partition.label === undefined) continue;
    const directory = join(work, `${partition.number}`);
    const files = await extractFilesystem({ image: built.image, partition, fsType: 'vfat', directory });
    const large = { ...partition, sectorBytes: 4096 as const };
    await makeBootFilesystem({ image, partition: large, label: partition.label });
    await fillBootFilesystem({ image, partition: large, files });
  }
  const report = await verifyBoot({ image, firmware: 'efi' });
  expect(report.failure, renderText(report)).toMatchObject({ stage: 'loader', name: 'xbootldr-not-read' });
  expect(report.failure?.cause).toMatch(/systemd-boot before version 258 finds no XBOOTLDR partition/);
});
