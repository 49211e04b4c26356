# The parts of nixpkgs' module system that nix/*.nix uses: options with types and defaults, imports, mkIf and priorities. Unknown
# options are errors, as in nixpkgs.
lib:
let
  isOption = value: builtins.isAttrs value && value._type or "" == "option";
  override = priority: content: {
    _type = "override";
    inherit priority content;
  };

  # Every module once, with its imports.
  collect =
    arguments: seen: module:
    let
      isPath = builtins.isPath module || builtins.isString module;
      key = if isPath then toString module else null;
      loaded = if isPath then import module else module;
      value =
        if builtins.isFunction loaded then
          loaded (
            arguments
            // builtins.mapAttrs (name: _: arguments.${name} or (throw "no module argument ${name}")) (
              builtins.functionArgs loaded
            )
          )
        else
          loaded;
      own = {
        options = value.options or { };
        config =
          value.config or (builtins.removeAttrs value [
            "options"
            "imports"
          ]);
      };
      start = {
        seen = seen ++ lib.optional (key != null) key;
        found = [ ];
      };
      imported = builtins.foldl' (
        before: one:
        let
          more = collect arguments before.seen one;
        in
        {
          inherit (more) seen;
          found = before.found ++ more.found;
        }
      ) start (value.imports or [ ]);
    in
    if key != null && builtins.elem key seen then
      {
        inherit seen;
        found = [ ];
      }
    else
      {
        inherit (imported) seen;
        found = imported.found ++ [ own ];
      };

  flatten =
    path: set:
    if isOption set then
      [
        {
          inherit path;
          option = set;
        }
      ]
    else
      lib.concatLists (lib.mapAttrsToList (name: flatten (path ++ [ name ])) set);

  at =
    path: set:
    builtins.foldl' (values: name: lib.concatMap (value: lib.optional (value ? ${name}) value.${name}) values) [ set ] path;
  setAt =
    path: value:
    if path == [ ] then value else { ${builtins.head path} = setAt (builtins.tail path) value; };
  merge =
    a: b:
    if builtins.isAttrs a && builtins.isAttrs b && !(a ? type) then
      a // builtins.mapAttrs (name: value: if a ? ${name} then merge a.${name} value else value) b
    else
      b;

  priorityOf = one: if one._type or "" == "override" then one.priority else 100;
  # Without a definition, the default counts as one of mkOptionDefault.
  bestOf = builtins.foldl' (least: one: if priorityOf one < least then priorityOf one else least) 1500;

  isAfter = value: value._type or "" == "order";
  unordered = value: if isAfter value then value.content else value;

  # Definitions without their conditions; only those with the highest priority.
  active =
    definitions:
    let
      plain = lib.concatMap (
        one: if one._type or "" == "if" then lib.optionals one.condition (active [ one.content ]) else [ one ]
      ) definitions;
      best = bestOf plain;
    in
    map (one: if one._type or "" == "override" then one.content else one) (
      builtins.filter (one: priorityOf one == best) plain
    );
in
rec {
  mkOption = attributes: attributes // { _type = "option"; };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkOptionDefault = override 1500;
  mkDefault = override 1000;
  mkForce = override 50;
  mkImageMediaOverride = override 60;
  mkAfter = content: {
    _type = "order";
    inherit content;
  };

  types =
    let
      type = description: check: {
        inherit description check;
        merge =
          path: values:
          if builtins.length values == 1 then
            builtins.head values
          else
            throw "The option `${path}' has conflicting definition values";
      };
    in
    rec {
      bool = type "boolean" builtins.isBool;
      str = type "string" builtins.isString;
      path = type "absolute path" (value: builtins.isPath value || lib.hasPrefix "/" (toString value));
      package = type "package" (value: value ? outPath);
      ints.positive = type "positive integer" (value: builtins.isInt value && value > 0);
      ints.unsigned = type "unsigned integer" (value: builtins.isInt value && value >= 0);
      lines = str // {
        description = "strings concatenated with \"\\n\"";
        merge = _: builtins.concatStringsSep "\n";
      };
      enum = choices: type "one of ${lib.concatMapStringsSep ", " builtins.toJSON choices}" (
        value: builtins.elem value choices
      );
      nullOr =
        inner:
        type "null or ${inner.description}" (value: value == null || inner.check value)
        // {
          merge = path: values: if builtins.all (value: value == null) values then null else inner.merge path values;
        };
      either = a: b: type "${a.description} or ${b.description}" (value: a.check value || b.check value);
      listOf =
        inner:
        type "list of ${inner.description}" (value: builtins.isList value && builtins.all inner.check value)
        // {
          merge = _: values: map (inner.complete or (value: value)) (lib.concatLists values);
        };
      submodule =
        { options }:
        let
          complete =
            value:
            builtins.mapAttrs (
              name: option:
              value.${name} or option.default
                or (throw "The option `${name}' was accessed but has no value defined. Try setting the option.")
            ) options;
        in
        type "submodule" (
          value:
          builtins.isAttrs value
          && builtins.all (name: options ? ${name}) (builtins.attrNames value)
          && builtins.all (name: !(value ? ${name}) || options.${name}.type.check value.${name}) (builtins.attrNames options)
        )
        // {
          inherit complete;
          merge = _: values: complete (builtins.foldl' (all: value: all // value) { } values);
        };
      # For NixOS options that only have to exist.
      anything = type "anything" (_: true) // {
        merge =
          path: values:
          if builtins.all builtins.isList (map unordered values) then
            lib.concatMap unordered (builtins.filter (value: !isAfter value) values ++ builtins.filter isAfter values)
          else if builtins.all (value: builtins.isAttrs value && !(value ? outPath)) values then
            lib.genAttrs (builtins.attrNames (builtins.foldl' (a: b: a // b) { } values)) (
              name: anything.merge "${path}.${name}" (active (lib.concatMap (value: lib.optional (value ? ${name}) value.${name}) values))
            )
          else
            builtins.head values;
      };
    };

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // {
        inherit lib config;
        options = builtins.foldl' (set: one: merge set (setAt one.path (annotated one))) { } declared;
      };
      all =
        (builtins.foldl'
          (
            before: module:
            let
              more = collect arguments before.seen module;
            in
            {
              inherit (more) seen;
              found = before.found ++ more.found;
            }
          )
          {
            seen = [ ];
            found = [ ];
          }
          modules
        ).found;
      options = builtins.foldl' (set: module: merge set module.options) { } all;
      declared = flatten [ ] options;
      annotated =
        { path, option }: option // { highestPrio = bestOf (lib.concatMap (module: at path module.config) all); };
      valueOf =
        { path, option }:
        let
          name = builtins.concatStringsSep "." path;
          definitions = active (lib.concatMap (module: at path module.config) all);
          wrong = builtins.filter (value: !option.type.check value) definitions;
        in
        if definitions == [ ] then
          option.default or (throw "The option `${name}' was accessed but has no value defined. Try setting the option.")
        else if wrong != [ ] then
          throw "A definition for option `${name}' is not of type `${option.type.description}'."
        else
          option.type.merge name definitions;
      unknown = lib.concatMap (
        module:
        builtins.filter (name: !(options ? ${name})) (builtins.attrNames module.config)
        ++ lib.concatMap (
          name:
          lib.optionals (!(isOption options.${name})) (
            map (inner: "${name}.${inner}") (
              builtins.filter (inner: !(options.${name} ? ${inner})) (builtins.attrNames module.config.${name} or { })
            )
          )
        ) (builtins.filter (name: options ? ${name}) (builtins.attrNames module.config))
      ) all;
      config =
        if unknown != [ ] then
          throw "The option `${builtins.head unknown}' does not exist."
        else
          builtins.foldl' (set: one: merge set (setAt one.path (valueOf one))) { } declared;
    in
    {
      inherit config options;
    };
}
