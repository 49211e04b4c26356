# Debian 12 that works in spite of its errors: GRUB cannot write its environment, units fail, an optional disk and an optional swap
# are missing. Its console logs in automatically.
debian
fstab <<'FSTAB'
LABEL=foreign / ext4 defaults 0 1
UUID=0f0e1a9e-0000-4000-8000-00000000da7a /data ext4 nofail,x-systemd.device-timeout=5s 0 2
LABEL=scratch none swap nofail,x-systemd.device-timeout=5s 0 0
FSTAB
units=$root/etc/systemd/system
mkdir -p "$units/multi-user.target.wants" "$units/serial-getty@ttyS0.service.d"
unit() {
  printf '[Unit]\nDescription=%s\n[Service]\nType=oneshot\nStandardOutput=journal+console\nStandardError=journal+console\nExecStart=/bin/sh -c "%s"\n' "$2" "$3" > "$units/$1.service"
  ln -s "../$1.service" "$units/multi-user.target.wants/$1.service"
}
unit docker-cleanup 'Docker image cleanup' 'echo error: No space left on device >&2; exit 1'
unit scanner 'Scanner of disks' 'echo Error opening /dev/sr0: Read-only file system >&2; exit 1'
unit decoder 'Decoder' 'echo zlib decompression error >&2; exit 1'
unit kvm-modules 'Load Kernel Modules' 'modprobe no-such-module'
unit reader 'Reader of its configuration' 'echo Error reading configuration; echo Boot failed: no settings; exit 3'
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 ttyS0 vt220\n' \
  > "$units/serial-getty@ttyS0.service.d/autologin.conf"
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry 'Foreign' {
  insmod no_such_module
  linux /vmlinuz root=LABEL=foreign ro console=ttyS0,115200
  initrd /initrd.img
}
MENU
gpt_disk 4 512
fat_bits=12 fat_filesystem
ext4_root
grub_bios
