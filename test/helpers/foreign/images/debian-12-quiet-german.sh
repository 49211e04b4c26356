# Debian 12 in German with a quiet kernel and systemd, a root that is read-only by design, and zsh as shell.
debian
locale de_DE.UTF-8
sed -i 's,^\(root:.*\):/bin/bash$,\1:/usr/bin/zsh,' "$root/etc/passwd"
cat > "$root/root/.zshrc" <<'ZSH'
setopt prompt_subst
PROMPT=$'%{\e[1;32m%}➜ %{\e[36m%}%c%{\e[0m%} '
RPROMPT='%T'
ZSH
fstab <<'FSTAB'
LABEL=foreign / ext4 ro 0 1
tmpfs /tmp tmpfs defaults 0 0
tmpfs /var tmpfs defaults 0 0
FSTAB
grub foreign "$root" <<'MENU'
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
search --no-floppy --label foreign --set=root
set timeout=0
menuentry 'Foreign' {
  linux /vmlinuz root=LABEL=foreign ro quiet console=ttyS0
  initrd /initrd.img
}
MENU
gpt_disk 4 512
fat_bits=12 fat_filesystem
ext4_root
grub_bios
