#!@busybox@/bin/sh
# Creates the root filesystem around /nix, at boot and in nixos-enter's chroot. It is idempotent.
export PATH=@busybox@/bin
umask 0022
# -f: the target of an existing link may be on a store that is only read, where mv would ask.
link() { ln -sfn "$1" "$2.new" && mv -fT "$2.new" "$2"; }

mkdir -p /etc /home /mnt /root /var/cache /var/empty /var/lib /var/log /var/tmp /tmp
chmod 1777 /tmp /var/tmp
chmod 700 /root
[ -L /var/run ] || link /run /var/run

echo "setting up /usr..."
if [ "@flavour@" = tiny ]; then
  link @sw@/bin /bin
  link @sw@/bin /sbin
else
  [ -L /usr ] || [ ! -d /usr ] || rmdir /usr
  link @sw@ /usr
  for directory in bin sbin lib lib64; do link "usr/$directory" "/$directory"; done
fi

echo "setting up /etc..."
link @etc@ /etc/static
for file in @etc@/*; do
  name=${file##*/}
  if [ -d "/etc/$name" ] && [ ! -L "/etc/$name" ]; then
    for inner in "$file"/*; do link "/etc/static/$name/${inner##*/}" "/etc/$name/${inner##*/}"; done
  else
    link "/etc/static/$name" "/etc/$name"
  fi
done
ln -sfn /proc/mounts /etc/mtab
touch /etc/NIXOS

# The same users and groups as in @usersGroups@, which tools read without running this script.
echo "updating users and groups..."
for file in passwd group; do [ -e "/etc/$file" ] || cat "@users@/$file" > "/etc/$file"; done
if [ ! -e /etc/shadow ]; then
  (umask 0077; cat @users@/shadow > /etc/shadow)
  chown 0:42 /etc/shadow
  chmod 640 /etc/shadow
fi
if [ ! -e /home/alice ]; then
  mkdir -m 700 /home/alice
  chown 1000:100 /home/alice
fi

ln -sfn @out@ /run/current-system
[ -n "${IN_NIXOS_ENTER:-}" ] || cat /etc/hostname > /proc/sys/kernel/hostname
