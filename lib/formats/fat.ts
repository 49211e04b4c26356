/** The geometry of a FAT. Offsets are in bytes, from its start. */
export interface FatLayout {
  readonly bits: 12 | 16 | 32;
  /** As in /dev/disk/by-uuid: `1234-ABCD`. */
  readonly volumeId: string;
  readonly label: string;
  readonly clusterBytes: number;
  readonly sizeBytes: number;
  readonly clusters: number;
  readonly tableAt: number;
  readonly tableBytes: number;
  /** The root directory's area of FAT12 and FAT16; empty on FAT32. */
  readonly rootAt: number;
  readonly rootBytes: number;
  /** Only on FAT32. */
  readonly rootCluster: number | undefined;
  readonly dataAt: number;
}

/** Reads a FAT's boot sector; undefined when it is not one. @see Microsoft, "FAT: General Overview of On-Disk
 *  Format" */
export function parseFatLayout(boot: Buffer): FatLayout | undefined {
  if (boot.length < 512 || boot.readUInt16LE(510) !== 0xaa55) return undefined;
  const sectorBytes = boot.readUInt16LE(11);
  const clusterSectors = boot.readUInt8(13);
  const [reserved, tables] = [boot.readUInt16LE(14), boot.readUInt8(16)];
  const isPower = clusterSectors !== 0 && (clusterSectors & (clusterSectors - 1)) === 0;
  if (![512, 1024, 2048, 4096].includes(sectorBytes) || !isPower || reserved === 0 || tables === 0) return undefined;
  const sectors = boot.readUInt16LE(19) || boot.readUInt32LE(32);
  const tableSectors = boot.readUInt16LE(22) || boot.readUInt32LE(36);
  const rootSectors = Math.ceil((boot.readUInt16LE(17) * 32) / sectorBytes);
  const clusters = Math.floor((sectors - reserved - tables * tableSectors - rootSectors) / clusterSectors);
  if (tableSectors === 0 || clusters < 1) return undefined;
  const bits = clusters < 4085 ? 12 : clusters < 65_525 ? 16 : 32;
  const [tableAt, tableBytes] = [reserved * sectorBytes, tableSectors * sectorBytes];
  const rootAt = tableAt + tables * tableBytes;
  const identity = bits === 32 ? 67 : 39;
  const volumeId = boot.readUInt32LE(identity).toString(16).toUpperCase().padStart(8, '0');
  return {
    bits,
    volumeId: `${volumeId.slice(0, 4)}-${volumeId.slice(4)}`,
    label: boot.toString('latin1', identity + 4, identity + 15).trimEnd(),
    clusterBytes: clusterSectors * sectorBytes,
    sizeBytes: sectors * sectorBytes,
    // The table may be too small for all clusters.
    clusters: Math.min(clusters, Math.floor((tableBytes * 8) / bits) - 2),
    ...{ tableAt, tableBytes, rootAt, rootBytes: rootSectors * sectorBytes },
    rootCluster: bits === 32 ? boot.readUInt32LE(44) : undefined,
    dataAt: rootAt + rootSectors * sectorBytes,
  };
}
