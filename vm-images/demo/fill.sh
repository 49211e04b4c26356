# Replaces the @names@ in a script by their values. Used as a program, or as part of a system.
fill() {
  sed -e "s|@out@|$out|g" -e "s|@busybox@|$busybox|g" -e "s|@etc@|$etc|g" -e "s|@sw@|$sw|g" -e "s|@users@|$users|g" \
    -e "s|@usersGroups@|$usersGroups|g" -e "s|@flavour@|$flavour|g" -e "s|@grubTargets@|$grubTargets|g" -e "s|@esp@|$esp|g" \
    -e "s|@boot@|$boot|g" -e "s|@grubImages@|$grubImages|g" -e "s|@systemdBoot@|$systemdBoot|g" \
    -e "s|@kernelParams@|$kernelParams|g" -e "s|@installBootLoader@|${installBootLoader:-}|g" -e "s|@grubConfig@|$grubConfig|g" \
    -e "s|@program@|${program:-}|g" "$1" > "$2"
}
if [ -n "${source:-}" ]; then
  fill "$source" "$out"
  chmod 755 "$out"
fi
