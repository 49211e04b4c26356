# The common part of all images of a release: mmdebstrap runs this text in the tree $1, as a user who cannot read this file.
set -eu
tree=$1
for locale in de_DE ja_JP; do
  chroot "$tree" localedef --no-archive -i $locale -f UTF-8 $locale.UTF-8
done
echo root:foreign | chroot "$tree" chpasswd
chroot "$tree" useradd --create-home --shell /bin/bash plain
echo plain:foreign | chroot "$tree" chpasswd
chroot "$tree" useradd --create-home --shell /bin/bash --groups sudo wheel
echo wheel:foreign | chroot "$tree" chpasswd
echo foreign > "$tree/etc/hostname"
: > "$tree/etc/machine-id"
if grep -q VERSION_CODENAME=bookworm "$tree/etc/os-release"; then
  # A second initrd that opens a disk. It is separate, because it waits for that disk on every machine.
  version=$(ls "$tree/lib/modules")
  echo 'cryptroot UUID=0f0e1a9e-0000-4000-8000-000000000012 none luks,initramfs' > "$tree/etc/crypttab"
  chroot "$tree" mkinitramfs -o /boot/initrd-luks.img "$version"
  echo > "$tree/etc/crypttab"
  # Other inits, for images without systemd.
  mkdir "$tree/opt/inits"
  cd "$tree/opt/inits"
  APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq download \
    sysvinit-core sysv-rc startpar initscripts insserv openrc libeinfo1 librc1
fi
rm -rf "$tree/usr/share/i18n" "$tree/var/cache/apt" "$tree/var/lib/apt/lists"
