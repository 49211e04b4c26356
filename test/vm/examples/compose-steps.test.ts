import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectImage } from '../../../lib/inspect/inspect-image.ts';
import { prepareDemo } from '../../../vm-images/demo.ts';
import { installExample } from '../../helpers/packed-package.ts';
import { run } from '../../helpers/run.ts';

test('the example compiles under --strict, builds an image, and leaves nothing where it is interrupted', async () => {
  const { store, systems } = await prepareDemo();
  const example = await installExample('compose-steps');
  await run(['npm', 'run', 'build'], { cwd: example });
  const argv = ['dist/main.js', systems['tiny-systemd-boot'] ?? '', 'images/nixos.img', store];

  const images = join(example, 'images');
  await mkdir(images);
  const interrupted = spawn(process.execPath, argv, { cwd: example, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(interrupted, 'exit');
  let said = '';
  interrupted.stderr.on('data', (text: Buffer) => {
    // In the VM, with the root mounted.
    if (!said.includes('switchToConfiguration') && `${said}${text}`.includes('switchToConfiguration'))
      interrupted.kill('SIGINT');
    said += text;
  });
  expect(await ended, said).toEqual([130, null]);
  expect(await readdir(images)).toEqual([]);
  expect(await commandLinesWith(images)).toEqual([]);

  expect(await run([process.execPath, ...argv], { cwd: example })).toBe('images/nixos.img\n');
  expect(await readdir(images)).toEqual(['nixos.img']);
  const { firmware, findings, generations } = await inspectImage({ image: join(images, 'nixos.img') });
  expect({ firmware, findings, generations }).toMatchObject({ firmware: ['efi'], findings: [], generations: [{}] });
});

/** The processes that have a path in their arguments. */
async function commandLinesWith(path: string): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(ids.map((id) => readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(path));
}
