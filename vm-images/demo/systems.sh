mkdir -p "$out"
printf '%s\n' "$systems" | while read -r name path; do ln -s "$path" "$out/$name"; done
