import type { DescribedCommand, Value } from './described.ts';

/** Nothing that is typed is evaluated: it is compared, and given to compgen as a word. Files are readline's own, quoted as they
 *  must be. @see bash(1), "Programmable Completion" */
export function bashCompletion(commands: readonly DescribedCommand[]): string {
  return `# bash completion for nixos-disk-image
_nixos_disk_image() {
  local current=\${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1)) command=\${COMP_WORDS[1]} before option=
  COMPREPLY=()
  # "--format=raw" is three words.
  if [[ $current == = ]]; then current=
  elif [[ \${COMP_WORDS[at]} == = ]]; then ((at--))
  fi
  if ((COMP_CWORD == 1)); then
    _nixos_disk_image_words ${commands.map(({ name }) => name).join(' ')} --help --version
    return
  fi
  # The option that the word belongs to: the one before it, or one that takes several words.
  for ((before = at; before > 1; before--)); do
    if [[ \${COMP_WORDS[before]} == -* ]]; then option=\${COMP_WORDS[before]}; break; fi
  done
  if [[ $current != -* && -n $option ]]; then
    if ((before == at)); then
      case "$command $option" in
${cases(commands, () => true)}
      esac
    else
      case "$command $option" in
${cases(commands, ({ isVariadic }) => isVariadic)}
      esac
    fi
  fi
  case $command in
${commands.map((command) => `    ${command.name}) ${wordsOf(command)} ;;`).join('\n')}
  esac
}

# Those of the words that begin as the current one does.
_nixos_disk_image_words() {
  compopt +o default
  mapfile -t COMPREPLY < <(compgen -W "$*" -- "$current")
}

complete -o default -F _nixos_disk_image nixos-disk-image
`;
}

/** What completes the value of each option. */
function cases(
  commands: readonly DescribedCommand[],
  isMeant: (option: DescribedCommand['options'][number]) => boolean,
): string {
  return commands
    .flatMap(({ name, options }) =>
      options.flatMap((option) =>
        option.value === undefined || !isMeant(option)
          ? []
          : `        ${option.names.map((flag) => `"${name} ${flag}"`).join(' | ')}) ${complete(option.value)}; return ;;`,
      ),
    )
    .join('\n');
}

function complete(value: Value): string {
  switch (value.kind) {
    case 'choice':
      return `_nixos_disk_image_words ${value.choices.join(' ')}`;
    case 'directory':
      return 'compopt +o default -o dirnames';
    case 'file':
      return ':';
    case 'text':
      return 'compopt +o default';
  }
}

/** Options, where one is begun; else what the arguments are. */
function wordsOf({ options, arguments: values }: DescribedCommand): string {
  const flags = options.map(({ names }) => names[0]).join(' ');
  const [first] = values;
  if (first?.kind === 'file') return `[[ $current != -* ]] || _nixos_disk_image_words ${flags}`;
  return `_nixos_disk_image_words ${first?.kind === 'choice' ? `${first.choices.join(' ')} ` : ''}${flags}`;
}
