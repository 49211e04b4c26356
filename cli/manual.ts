import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageFile } from '../harness/cache-directory.ts';
import { makeProgram } from './program.ts';
import { packageVersion } from './version.ts';

/** Writes the manual page out of what the command line says of itself. @see man(7), groff_man_style(7) */

const version = await packageVersion();
const program = makeProgram(version, new AbortController().signal);

/** Text as roff takes it: no line begins with a control character. */
function roff(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll("'", '\\(aq').replace(/^\./gm, '\\&.');
}

function command(one: Command): string {
  const help = one.createHelp();
  const options = help.visibleOptions(one).map((option) => {
    const choices = option.argChoices === undefined ? '' : `; one of ${option.argChoices.join(', ')}`;
    const preset = typeof option.defaultValue === 'string' ? `; default ${option.defaultValue}` : '';
    return `.TP\n.B ${roff(option.flags)}\n${roff(`${option.description}${choices}${preset}`)}`;
  });
  return [
    `.SS ${roff(help.commandUsage(one).replace(/^nixos-disk-image /, ''))}`,
    roff(one.description()),
    ...help.visibleArguments(one).map((argument) => `.TP\n.I ${roff(argument.name())}\n${roff(argument.description)}`),
    ...options,
  ].join('\n');
}

const page = `.TH NIXOS\\-DISK\\-IMAGE 1 "" "nixos\\-disk\\-image ${roff(version)}" "User Commands"
.SH NAME
nixos\\-disk\\-image \\- build NixOS disk images, and boot them to verify that they work
.SH SYNOPSIS
.B nixos\\-disk\\-image
.I command
.RI [ option " ...]"
.SH DESCRIPTION
${roff(program.description())}
No root, no KVM, no daemon and no network are needed.
.SH COMMANDS
${program.commands.map(command).join('\n')}
.SH EXIT STATUS
.TP
.B 0
Good.
.TP
.B 1
The system or the image is wrong; for
.BR diff ,
the images differ.
.TP
.B 2
Usage: an option is wrong. All problems are listed at once.
.TP
.B 3
The host or the harness: a program is missing, a disk is full, QEMU was killed.
.TP
.B 130
It was interrupted, and has cleaned up.
.SH ENVIRONMENT
.TP
.B SOURCE_DATE_EPOCH
Seconds since 1970: the time of everything in a reproducible image. Default 1.
.TP
.B NIXOS_DISK_IMAGE_ACCEL
.B kvm
or
.BR tcg ,
instead of the probe's verdict.
.TP
.B NIXOS_DISK_IMAGE_MACHINES
How many machines may run at once, in all processes of this user; default: the number of processors.
.TP
.B DOCKER_HOST
Where the container engine listens, for
.BR \\-\\-container .
.TP
.B XDG_CACHE_HOME
Where the cache directory is.
.TP
.BR NO_COLOR ", " FORCE_COLOR
Turn colours off, and on.
.SH FILES
.TP
.I ~/.cache/nixos\\-disk\\-image
The builder VM's kernel and initrd, and the verdict on KVM; may be removed at any time.
.SH EXAMPLES
.nf
nixos\\-disk\\-image build \\-\\-toplevel ./result \\-\\-partition\\-table\\-type hybrid \\-\\-out images
nixos\\-disk\\-image verify images/nixos.img \\-\\-html report.html
nixos\\-disk\\-image run images/nixos.img \\-\\-firmware efi
.fi
.SH SEE ALSO
.BR nix\\-build (1),
.BR qemu (1)
`;

await writeFile(join(packageFile('dist'), 'nixos-disk-image.1'), page);
