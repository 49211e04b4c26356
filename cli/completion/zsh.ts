import type { DescribedCommand, DescribedOption, Value } from './described.ts';

/** @see zshcompsys(1), "_arguments" */
export function zshCompletion(commands: readonly DescribedCommand[]): string {
  return `#compdef nixos-disk-image
# zsh completion for nixos-disk-image
_nixos-disk-image() {
  local curcontext="$curcontext" state
  local -a line commands=(
${commands.map(({ name, description }) => `    ${quote(`${name}:${description}`)}`).join('\n')}
  )
  _arguments -C \\
    '(- *)--help[display help]' \\
    '(- *)--version[output the version number]' \\
    '1:command:->command' \\
    '*::argument:->argument'
  case $state in
    command) _describe -t commands command commands ;;
    argument)
      case $line[1] in
${commands.map(commandCase).join('\n')}
      esac
      ;;
  esac
}

# Read from $fpath, this file is the function's body; elsewhere it is sourced.
if [[ \${funcstack[1]-} == _nixos-disk-image ]]; then
  _nixos-disk-image "$@"
else
  compdef _nixos-disk-image nixos-disk-image
fi
`;
}

function commandCase({ name, options, arguments: values }: DescribedCommand): string {
  const specs = [
    ...options.flatMap(optionSpecs),
    ...values.map((value, index) => quote(`${index + 1}:${value.kind}:${action(value)}`)),
  ];
  return [
    `        ${name})`,
    `          _arguments \\`,
    `            ${specs.join(' \\\n            ')}`,
    '          ;;',
  ].join('\n');
}

function optionSpecs({ names, description, value, isVariadic }: DescribedOption): string[] {
  const text = `[${bracketed(description)}]`;
  // Up to the next word that is an option.
  const range = isVariadic ? '*-*' : '';
  const takes = value === undefined ? '' : `:${range}${range === '' ? '' : ':'}${value.kind}:${action(value)}`;
  return names.map((name) => {
    const joint = value === undefined ? '' : name.startsWith('--') ? '=' : '+';
    return quote(`*${name}${joint}${text}${takes}`);
  });
}

function action(value: Value): string {
  switch (value.kind) {
    case 'choice':
      return `(${value.choices.join(' ')})`;
    case 'directory':
      return '_files -/';
    case 'file':
      return '_files';
    case 'text':
      return ' ';
  }
}

function bracketed(text: string): string {
  return text.replace(/[\\[\]:]/g, '\\$&');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
