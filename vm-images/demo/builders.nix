# Makes derivations from a directory of inputs: inputs/debs contains Debian packages, and inputs/bin/busybox is a static
# busybox, which is the builder of every derivation.
{ inputs }:
rec {
  system = "x86_64-linux";
  input =
    name:
    builtins.path {
      path = /. + "${inputs}/${name}";
      inherit name;
    };
  debs = input "debs";
  bin = input "bin";

  # busybox runs the applet with its own file name, so the file must be named busybox.
  busybox = builtins.derivation {
    name = "busybox";
    inherit system;
    builder = "${bin}/busybox";
    args = [
      "sh"
      "-euc"
      ''
        ${bin}/busybox mkdir -p $out/bin
        ${bin}/busybox cp ${bin}/busybox $out/bin/busybox
        for applet in $($out/bin/busybox --list); do
          [ "$applet" = busybox ] || ${bin}/busybox ln -s busybox "$out/bin/$applet"
        done
      ''
    ];
  };

  run =
    name: script: environment:
    builtins.derivation (
      {
        inherit name system busybox;
        PATH = "${busybox}/bin";
        builder = "${busybox}/bin/sh";
        args = [
          "-eu"
          script
        ];
      }
      // environment
    );
}
