/** A menu entry of systemd-boot, or of a GRUB whose grub.cfg is on a FAT partition; or a UKI that firmware starts
 *  directly.
 *  @see The Boot Loader Specification; GRUB manual, "linux" and "initrd" */
export interface LoaderEntry {
  readonly loader: 'systemd-boot' | 'grub' | 'firmware';
  /** The path from the partition's root: `loader/entries/nixos-generation-1.conf`, `EFI/Linux/nixos.efi`,
   *  `grub/grub.cfg`. */
  readonly file: string;
  readonly partition: number;
  readonly title: string;
  readonly version: string;
  /** The path of the kernel; for a UKI, its own path. */
  readonly linux: string;
  readonly initrd: readonly string[];
  readonly options: string;
  /** Whether it is started by default, as far as that can be determined. */
  readonly isDefault: boolean;
}
