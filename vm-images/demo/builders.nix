# Derivations out of a directory of inputs: inputs/debs holds packages of the distribution, inputs/bin/busybox a static busybox,
# which is every derivation's builder.
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

  # busybox takes its name for the applet to run, so it must be called just that.
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
