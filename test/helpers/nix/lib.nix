# The functions of nixpkgs' lib that nix/*.nix and the flake use, with the same names, arguments and results.
let
  base = rec {
    assertMsg = condition: message: condition || throw message;
    throwIf = condition: message: if condition then throw message else value: value;
    cleanSource = path: path;
    concatLists = builtins.concatLists;
    concatMap = builtins.concatMap;
    concatMapStrings = f: list: builtins.concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      builtins.concatStringsSep separator (map f list);
    concatStringsSep = builtins.concatStringsSep;
    concatStrings = builtins.concatStringsSep "";
    findFirst =
      test: preset: list:
      let
        found = builtins.filter test list;
      in
      if found == [ ] then preset else builtins.head found;
    stringToCharacters = text: builtins.genList (at: builtins.substring at 1 text) (builtins.stringLength text);
    # As in nixpkgs, other letters than those of ASCII stay.
    toLower = builtins.replaceStrings (stringToCharacters upper) (stringToCharacters lower);
    toUpper = builtins.replaceStrings (stringToCharacters lower) (stringToCharacters upper);
    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    lower = "abcdefghijklmnopqrstuvwxyz";
    escapeShellArg =
      value: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    filterAttrs =
      keep: set:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = set.${name};
        }) (builtins.filter (name: keep name set.${name}) (builtins.attrNames set))
      );
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    getExe =
      package: "${package}/bin/${package.meta.mainProgram or (throw "getExe: ${package.name} has no meta.mainProgram")}";
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    init = list: builtins.genList (builtins.elemAt list) (builtins.length list - 1);
    imap0 = f: list: builtins.genList (index: f index (builtins.elemAt list index)) (builtins.length list);
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    licenses.mit = {
      spdxId = "MIT";
      free = true;
    };
    makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);
    mapAttrs = builtins.mapAttrs;
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    optionals = condition: list: if condition then list else [ ];
    trivial.release = "25.11";
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    splitString = separator: text: builtins.filter builtins.isString (builtins.split (escapeRegex separator) text);
    escapeRegex = builtins.replaceStrings [ "." "/" ] [ "\\." "/" ];
    toIntBase10 =
      text:
      let
        digits = builtins.match "0*([0-9]+)" text;
      in
      if digits == null then throw "toIntBase10: ${text} is not a number" else builtins.fromJSON (builtins.head digits);
    toList = value: if builtins.isList value then value else [ value ];

    # A source with only these files and directories of its root.
    fileset = {
      unions = list: list;
      toSource =
        { root, fileset }:
        let
          wanted = map toString fileset;
          isWanted =
            path: builtins.any (one: path == one || hasPrefix "${one}/" path || hasPrefix "${path}/" one) wanted;
        in
        builtins.path {
          path = root;
          name = "source";
          filter = path: _: isWanted path;
        };
    };
  };
  lib = base // import ./modules.nix lib;
in
lib
