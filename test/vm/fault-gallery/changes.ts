import type { BrokenImage } from './broken-image.ts';
import { withFiles } from './cpio.ts';
import { ACTIVATION, GRUB_CFG, INITRD, text } from './parts.ts';

// Changes to an image that several faults share.

export const withoutConsole = text((content) => content.replaceAll(/ ?console=ttyS0\S*/g, ''));

/** Allows a login only on a keyboard. */
export const loginOnScreen = (image: BrokenImage): Promise<void> =>
  changeInittab(image, (table) => table.replace('-L ttyS0 115200 vt100', '38400 tty1'));

/** Makes stage 2 run a command first. */
export const inStage2 = (image: BrokenImage, shell: string): Promise<void> =>
  image.changeSystem('init', (script) => script.replace(ACTIVATION, `${shell}\n${ACTIVATION}`));

/** Makes busybox's init, which is faster than systemd, run the demo's login with PAM on the console. */
export const WITH_PAM = `printf '::respawn:/sbin/agetty --keep-baud 115200 ttyS0 vt220\\n' > /etc/inittab
init=$(command -v init)
exec env -i PATH=/usr/sbin:/usr/bin "$init"`;

/** Replaces the last command of stage 2. */
export const insteadOfInit = (image: BrokenImage, shell: string): Promise<void> =>
  image.changeSystem('init', (script) => script.replaceAll(/^ *exec env .*$/gm, shell));

/** Makes the activation in stage 2 run a command. */
export const beforeInit = (image: BrokenImage, shell: string): Promise<void> =>
  image.changeSystem('init', (script) => script.replace(/^( *)echo "starting/m, `${shell}\n$1echo "starting`));

/** Replaces a program in the initrd. */
export const anotherInit = (image: BrokenImage, script: string): Promise<void> =>
  image.changeOnEsp(INITRD, (initrd) => withFiles(initrd, [{ path: 'init', content: script }]));

/** Changes the kernel parameters of all entries in GRUB's menu. */
export const changeParameters = (image: BrokenImage, change: (parameters: string) => string): Promise<void> =>
  image.changeOnEsp(
    GRUB_CFG,
    text((menu) =>
      menu.replaceAll(
        /^( *linux \S+ )(.*)$/gm,
        (_, command: string, parameters: string) => command + change(parameters),
      ),
    ),
  );

/** Changes a file in the system's /etc. */
export async function changeEtc(image: BrokenImage, name: string, change: (content: string) => string): Promise<void> {
  const file = `${await image.linkOfSystem('etc')}/${name}`;
  await image.writeOnRoot(file, text(change)(await image.readFromRoot(file)), '0100444');
}

/** Changes the programs that busybox's init starts. */
export const changeInittab = (image: BrokenImage, change: (table: string) => string): Promise<void> =>
  changeEtc(image, 'inittab', change);
