cp "$configPath" "$out"
