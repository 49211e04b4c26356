"""Adds sections behind those of systemd's stub, where it looks for them. OUTPUT STUB .NAME=FILE..."""
import os, struct, subprocess, sys

output, stub, *sections = sys.argv[1:]
image = open(stub, 'rb').read()
header = struct.unpack_from('<I', image, 0x3c)[0]
count, optional = struct.unpack_from('<H12xH', image, header + 6)
align = struct.unpack_from('<I', image, header + 24 + 32)[0]
table = header + 24 + optional
# Section addresses are relative to the image base, which objcopy expects to be added.
base = struct.unpack_from('<Q', image, header + 24 + 24)[0]
end = max(sum(struct.unpack_from('<II', image, table + 40 * n + 8)) for n in range(count))
argv = ['objcopy']
for name, file in (section.split('=', 1) for section in sections):
    address = base + (end + align - 1) // align * align
    argv += ['--add-section', f'{name}={file}', '--change-section-vma', f'{name}={address:#x}']
    end = address - base + os.path.getsize(file)
subprocess.run([*argv, stub, output], check=True)
