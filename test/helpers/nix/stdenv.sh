# The parts of nixpkgs' stdenv that derivations here use: a PATH with the programs of the inputs, hooks of the inputs, phases.
set -e
set -o pipefail
PATH=
for package in $nativeBuildInputs $initialPath; do
  PATH=$PATH${PATH:+:}$package/bin
done
export PATH
for package in $nativeBuildInputs; do
  if [ -e "$package/nix-support/setup-hook" ]; then . "$package/nix-support/setup-hook"; fi
done

runHook() {
  local hook=$1
  if declare -F "$hook" > /dev/null; then "$hook"; else eval "${!hook:-}"; fi
}

phase() {
  local disable=$1 text=$2
  [ -n "${!disable:-}" ] || eval "${!text:-}"
}

cd "$NIX_BUILD_TOP"
if [ -n "${buildCommandPath:-}" ]; then
  . "$buildCommandPath"
elif [ -n "${buildCommand:-}" ]; then
  eval "$buildCommand"
else
  cp -r "$src" source
  chmod -R u+w source
  cd source
  phase dontConfigure configurePhase
  phase dontBuild buildPhase
  phase dontInstall installPhase
fi
