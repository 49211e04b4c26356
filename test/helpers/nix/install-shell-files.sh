# The parts of nixpkgs' installShellFiles that are used.
installManPage() {
  local page
  for page in "$@"; do
    mkdir -p "$out/share/man/man${page##*.}"
    cp "$page" "$out/share/man/man${page##*.}/"
  done
}

# --cmd NAME --bash FILE --zsh FILE --fish FILE
installShellCompletion() {
  local name= target
  while [ "$#" -gt 0 ]; do
    case $1 in
      --cmd) name=$2 ;;
      --bash) target=$out/share/bash-completion/completions/$name.bash ;;
      --zsh) target=$out/share/zsh/site-functions/_$name ;;
      --fish) target=$out/share/fish/vendor_completions.d/$name.fish ;;
      *) echo "the stub does not know $1" >&2; exit 1 ;;
    esac
    if [ "$1" != --cmd ]; then
      mkdir -p "${target%/*}"
      cat "$2" > "$target"
      [ -s "$target" ]
    fi
    shift 2
  done
}
