import type { DescribedCommand, DescribedOption, Value } from './described.ts';

/** @see complete(1) of fish */
export function fishCompletion(commands: readonly DescribedCommand[]): string {
  return `# fish completion for nixos-disk-image
function __nixos_disk_image_command -d 'whether the first word is this command; without one, whether there is none yet'
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

function __nixos_disk_image_in -d 'whether the last option of this command is one of these, which take several words'
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"; or return 1
    for word in $words[-1..2]
        if string match -q -- '-*' $word
            contains -- $word $argv[2..]
            return
        end
    end
    return 1
end

complete -c nixos-disk-image -f
complete -c nixos-disk-image -n '__nixos_disk_image_command' -l help -d 'display help'
complete -c nixos-disk-image -n '__nixos_disk_image_command' -l version -d 'output the version number'
${commands.flatMap(commandLines).join('\n')}
`;
}

function commandLines({ name, description, options, arguments: values }: DescribedCommand): string[] {
  const when = `complete -c nixos-disk-image -n ${quote(`__nixos_disk_image_command ${name}`)}`;
  return [
    `complete -c nixos-disk-image -n '__nixos_disk_image_command' -a ${name} -d ${quote(description)}`,
    ...options.map((option) => `${when} ${optionArguments(option)}`),
    ...options.flatMap(({ names, value, isVariadic }) =>
      isVariadic && value?.kind === 'choice'
        ? [
            `complete -c nixos-disk-image -n ${quote(`__nixos_disk_image_in ${name} ${names.join(' ')}`)} -a ${quote(value.choices.join(' '))}`,
          ]
        : [],
    ),
    ...new Set(
      values.map((value) => `${when} ${value.kind === 'choice' ? `-a ${quote(value.choices.join(' '))}` : '-F'}`),
    ),
  ];
}

function optionArguments({ names, description, value }: DescribedOption): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const takes = value === undefined ? [] : [argumentsFor(value)];
  return [...flags, ...takes, '-d', quote(description)].join(' ');
}

function argumentsFor(value: Value): string {
  switch (value.kind) {
    case 'choice':
      return `-x -a ${quote(value.choices.join(' '))}`;
    case 'directory':
      return `-x -a '(__fish_complete_directories (commandline -ct))'`;
    case 'file':
      return '-r -F';
    case 'text':
      return '-x';
  }
}

function quote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`;
}
