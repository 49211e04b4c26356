/** Scripts that print the messages of real programs verbatim. */

/** initramfs-tools if the root device does not appear. @see initramfs-tools scripts/local, scripts/functions panic() */
export const INITRAMFS_NO_ROOT = `
  echo 'Begin: Running /scripts/local-premount ... done.'
  echo 'Begin: Waiting for root file system ... Begin: Running /scripts/local-block ... done.'
  echo 'done.'
  cat <<END
Gave up waiting for root file system device.  Common problems:
 - Boot args (cat /proc/cmdline)
   - Check rootdelay= (did the system wait long enough?)
 - Missing modules (cat /proc/modules; ls /dev)
ALERT!  LABEL=absent does not exist.  Dropping to a shell!
END
  PS1='(initramfs) ' exec setsid cttyhack sh -i`;

/** A question on the console that accepts only "foreign", without echo. $1 is its text, $2 the response to another answer, $3 the
 *  final response. */
export const ASK = `
  ask() {
    while printf "$1"; do
      stty -echo; IFS= read -r answer; stty echo; echo
      [ "$answer" != foreign ] || break
      printf "$2"
    done
    printf "$3"
  }`;

/** sysvinit's first message. @see sysvinit src/init.c */
export const SYSVINIT = "echo 'INIT: version 3.06 booting'";

/** An inittab entry with a program instead of getty on the console. */
export function consoleProgram(script: string, more = ''): Record<string, string> {
  return {
    '/etc/inittab': `::sysinit:/etc/rc.start\nttyS0::respawn:/etc/console\n::shutdown:/etc/rc.stop\n${more}`,
    '/etc/console': `#!/bin/sh\n${script}\n`,
  };
}

/** The real agetty and login, which replace those of busybox. @see agetty(8), login(1) */
export function realLogin(agetty = ''): Record<string, string> {
  return consoleProgram(`exec /usr/sbin/agetty -l /usr/bin/login ${agetty} ttyS0 115200 vt220`);
}
