/** A menu entry of systemd-boot, or of a GRUB whose grub.cfg is on a FAT partition; or a UKI that the firmware starts itself.
 *  @see The Boot Loader Specification; GRUB manual, "linux" and "initrd" */
export interface LoaderEntry {
  readonly loader: 'systemd-boot' | 'grub' | 'firmware';
  /** From the partition's root: `loader/entries/nixos-generation-1.conf`, `EFI/Linux/nixos.efi`, `grub/grub.cfg`. */
  readonly file: string;
  readonly partition: number;
  readonly title: string;
  readonly version: string;
  /** Of a UKI, itself. */
  readonly linux: string;
  readonly initrd: readonly string[];
  readonly options: string;
  /** Whether it is what is started when nobody chooses, as far as that can be told. */
  readonly isDefault: boolean;
}
