# /etc of the tiny system, with a login on the machine's serial port.
cp -r "$source" "$out"
chmod -R u+w "$out"
[ -z "$fstab" ] || printf '%s' "$fstab" > "$out/fstab"
sed -i "s|@serial@|$serial|g" "$out/inittab" "$out/securetty"
