# The parts of nixpkgs' makeWrapper that are used: --add-flags, --prefix.
makeWrapper() {
  local program=$1 wrapper=$2 flags= lines=
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --add-flags)
        flags="$flags $2"
        shift 2
        ;;
      --prefix)
        lines="$lines$2='$4'\${$2:+$3\$$2}; export $2"$'\n'
        shift 4
        ;;
      *)
        echo "makeWrapper doesn't understand the arg $1" >&2
        exit 1
        ;;
    esac
  done
  mkdir -p "$(dirname "$wrapper")"
  printf '#!%s -e\n%sexec "%s" %s "$@"\n' "$(command -v bash)" "$lines" "$program" "$flags" > "$wrapper"
  chmod +x "$wrapper"
}
