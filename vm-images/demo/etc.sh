# /etc of the demo system: files from the directory etc, and systemd with only the units that a serial console needs.
cp -r "$source" "$out"
chmod -R u+w "$out"
cd "$out"
mkdir -p systemd/system/multi-user.target.wants tmpfiles.d
mask() { for unit; do ln -s /dev/null "systemd/system/$unit"; done; }
# Without udev, whose coldplug takes half of an emulated boot. devtmpfs creates the device nodes.
mask systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket
mask getty-static.service systemd-random-seed.service systemd-sysusers.service systemd-update-utmp.service \
  systemd-update-utmp-runlevel.service systemd-journal-flush.service systemd-journald-audit.socket \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
  sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-binfmt.service kmod-static-nodes.service modprobe@.service \
  systemd-modules-load.service systemd-remount-fs.service systemd-sysctl.service systemd-tmpfiles-setup-dev.service \
  systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer systemd-user-sessions.service systemd-logind.service \
  systemd-networkd.service systemd-ask-password-wall.path systemd-ask-password-console.path systemd-initctl.socket \
  systemd-fsckd.socket systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-boot-system-token.service \
  systemd-machine-id-commit.service systemd-firstboot.service systemd-repart.service e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer cryptsetup.target veritysetup.target integritysetup.target remote-cryptsetup.target remote-veritysetup.target
ln -s /usr/lib/systemd/system/multi-user.target systemd/system/default.target
ln -s ../serial-getty@.service systemd/system/multi-user.target.wants/serial-getty@ttyS0.service
cat > systemd/system/serial-getty@.service <<'END'
[Unit]
Description=Serial Getty on %I

[Service]
ExecStart=-/sbin/agetty --keep-baud 115200 - vt220
Type=idle
Restart=always
UtmpIdentifier=%I
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/%I
TTYReset=yes
TTYVHangup=yes
IgnoreSIGPIPE=no
SendSIGHUP=yes
END
# The packages' tmpfiles.d files need a machine-id, which does not exist while the image is built.
for file in "$userland"/usr/lib/tmpfiles.d/*; do ln -s /dev/null "tmpfiles.d/${file##*/}"; done
