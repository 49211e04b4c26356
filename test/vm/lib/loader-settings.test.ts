import { expect, test } from 'vitest';
import { checkFirmwareMode, commandCheck } from '../../../harness/verify/checks.ts';
import { verifyBoot } from '../../../harness/verify/verify-boot.ts';
import { buildImage } from '../../../lib/build/build-image.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

// A system with GRUB's font, picture, users, entries, files and a saved default is installed without a VM and booted.

async function image(): Promise<string> {
  const demo = await prepareDemo();
  const built = await buildImage({
    ...{ toplevel: demo.systems['tiny-grub-settings'] ?? '', store: demo.store, outDir: await tempDirectory() },
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootSize: '64M', additionalSpace: '32M' },
  });
  return built.image;
}

test.each(['bios', 'efi'] as const)('%s: the configured menu boots the system', async (firmware) => {
  const console: Buffer[] = [];
  const options = {
    ...{ image: await image(), firmware },
    checks: [
      checkFirmwareMode(firmware),
      // The installer has nothing to do at the next rebuild.
      commandCheck('[ "$(head -n 3 /boot/grub/state | tr "\\n" " ")" = "grub 2.06 both " ]'),
      // Users at the menu cannot change the command line.
      commandCheck("grep -qF \"password admin 'it'\\\\''s $\"secret /boot/grub/grub.cfg"),
      // GRUB saved the booted entry.
      commandCheck('grep -qx saved_entry=NixOS /boot/grub/grubenv'),
      commandCheck('cmp /boot/background.png "/boot/extra file"'),
      commandCheck('[ -e /boot/grub/i386-pc/chain.mod ] && [ -e /boot/grub/x86_64-efi/chain.mod ]'),
    ],
  };
  const report = await verifyBoot(options, { onConsole: (data) => console.push(Buffer.from(data)) });
  expect(report).toMatchObject({ ok: true });
  // extraConfig ran, and so did everything before it.
  expect(Buffer.concat(console).toString('latin1')).toContain('of extraConfig');
});
