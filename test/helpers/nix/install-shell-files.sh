# The parts of nixpkgs' installShellFiles that are used.
installManPage() {
  local page
  for page in "$@"; do
    mkdir -p "$out/share/man/man${page##*.}"
    cp "$page" "$out/share/man/man${page##*.}/"
  done
}
