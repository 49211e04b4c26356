/** Lines of healthy boots that look like failures, by stage. */
export const HEALTHY_LINES = {
  loader: String.raw`
error: no suitable video mode found.
Booting in blind mode
error: file '/boot/grub/grubenv' not found.
error: sparse file not allowed.
error: diskfilter writes are not supported.
error: terminal 'serial' isn't found.
error: file '/boot/grub/locale/en.gmo' not found.
error: ../../grub-core/commands/search.c:471:no such device: /EFI/fedora/grub.cfg.
error: can't find command 'hwmatch'.
Failed to open \EFI\systemd\drivers: Not found
Error parsing 'console-mode' config option: keep
Failed to open random seed file: Write Protected
Error loading UKI-specific addons, ignoring: Not found`,
  kernel: String.raw`
Initramfs unpacking failed: Decoding failed
Initramfs unpacking failed: invalid magic at start of compressed archive
blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0
Buffer I/O error on dev sr0, logical block 0, async page read
GPT:Primary header thinks Alt. header is not at the end of the disk.
GPT: Use GNU Parted to correct GPT errors.
EXT4-fs (vda2): couldn't mount as ext3 due to feature incompatibilities
EXT4-fs (vda2): VFS: Can't find ext4 filesystem
F2FS-fs (vda): Can't find valid F2FS filesystem in 1th superblock
FAT-fs (vda1): Volume was not properly unmounted. Some data may be corrupt. Please run fsck.
ACPI BIOS Error (bug): Could not resolve symbol [\_SB.PCI0], AE_NOT_FOUND
kvm_intel: VMX not supported by CPU 0
PM: Image not found (code -22)
platform regulatory.0: Direct firmware load for regulatory.db failed with error -2
integrity: Problem loading X.509 certificate -65
stress invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
Memory cgroup out of memory: Killed process 211 (stress) total-vm:20480kB
Failed to execute /init (error -2)`,
  'stage 1': `
mdadm: No arrays found in config file or automatically
cryptsetup: Waiting for encrypted source device UUID=0c9d...
dracut-initqueue[301]: Warning: dracut-initqueue: starting timeout scripts
dracut Warning: dracut-initqueue: timeout, still waiting for following initqueue hooks:
/dev/mapper/control: open failed: No such device
Failure to communicate with kernel device-mapper driver.
  Volume group "vg" not found
  Cannot process volume group vg
Failed to open key file.
No key available with this passphrase.
Target filesystem doesn't have requested /sbin/init.
run-init: can't execute '/sbin/init': No such file or directory
mount: mounting udev on /dev failed: No such device
W: Couldn't identify type of root file system for fsck hook
systemd-modules-load[88]: Failed to find module 'lp'
modprobe: FATAL: Module dm_mod not found in directory /lib/modules/6.1.0`,
  init: `
[ TIME ] Timed out waiting for device dev-tpmrm0.device - /dev/tpmrm0.
[FAILED] Failed to mount boot-efi.mount - /boot/efi.
[FAILED] Failed to start systemd-networkd-wait-online.service - Wait for Network to be Configured.
[FAILED] Failed to start smartd.service - Self Monitoring and Reporting Technology (SMART) Daemon.
[FAILED] Failed to listen on systemd-coredump.socket - Process Core Dump Socket.
[DEPEND] Dependency failed for qemu-guest-agent.service - QEMU Guest Agent.
[UNSUPP] Starting of proc-sys-fs-binfmt_misc.automount unsupported.
systemd[1]: Failed to start Load Kernel Modules.
systemd-journald[101]: File /var/log/journal/0c9d/system.journal corrupted or uncleanly shut down, renaming and replacing.
systemd[1]: /etc/systemd/system/x.service:5: Failed to parse boolean value, ignoring: maybe
sysctl: setting key "kernel.x": Read-only file system
sshd[210]: Failed password for root from 10.0.2.2 port 41000 ssh2
url_helper.py[WARNING]: Calling 'http://169.254.169.254/latest/meta-data' failed [0/120s]
EXT4-fs error (device sdb1): ext4_find_entry:1614: inode #2: comm find: reading directory lblock 0
tar: x: Cannot write: No space left on device
(process:1): inotify_add_watch failed: No space left on device
kernel.panic = 10
Last failed login: Sat Nov 28 12:00:00 UTC 2026 on ttyS0
There were 3 failed login attempts since the last successful login.
INIT: Id "5" respawning too fast: disabled for 5 minutes`,
  shutdown: `
[FAILED] Failed unmounting nix-store.mount - /nix/store.
[FAILED] Failed unmounting run-user-0.mount - /run/user/0.
Failed to unmount /oldroot: Device or resource busy
Not all file systems unmounted, 1 left.
watchdog: watchdog0: watchdog did not stop!
systemd-shutdown[1]: Could not detach DM /dev/dm-0: Device or resource busy
Failed to finalize file systems, ignoring.
umount: /: target is busy.`,
} as const;
