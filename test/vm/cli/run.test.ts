import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { symlink } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import type { BuiltImage } from '../../../lib/build/build-image.ts';
import { quoteForDisplay } from '../../../lib/run/errors.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { codeBlock, commandsOf } from '../../helpers/code-blocks.ts';
import { demoImage } from '../../helpers/demo-image.ts';
import { run as runProgram } from '../../helpers/run.ts';
import { tempDirectory } from '../../helpers/temp-directory.ts';

let image: BuiltImage;
beforeAll(async () => {
  image = await demoImage('tiny-grub-hybrid', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
});

const CLI = [process.execPath, packageFile('dist/cli/main.js')];
const run = (): string[] => [...CLI, 'run', image.image, '--firmware', 'bios'];

async function digest(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** A program, its output on both streams, and its end. */
function start(argv: readonly string[], cwd?: string) {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'pipe', cwd });
  onTestFinished(() => void child.kill('SIGKILL'));
  const printed = { out: '', err: '' };
  const ended = once(child, 'close') as Promise<[number | null]>;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed.err += text;
  });
  const until = async (pattern: RegExp, which: 'out' | 'err' = 'out'): Promise<void> => {
    const stream = which === 'out' ? child.stdout : child.stderr;
    while (!pattern.test(printed[which])) {
      const gone = ended.then(() => 'gone');
      if ((await Promise.race([once(stream, 'data'), gone])) === 'gone' && !pattern.test(printed[which]))
        throw new Error(`it ended before it printed ${pattern}:\n${printed.out}\n${printed.err}`);
    }
  };
  return { child, printed, until, exitCode: async () => (await ended)[0] };
}

test('with two pipes, input is typed and the guest’s output is printed', async () => {
  const { child, printed, until, exitCode } = start(run());
  await until(/login: $/);
  child.stdin.write('root\n');
  await until(/~ # /);
  child.stdin.end('echo "$((6 * 7)) gr\u00fc\u00dfe"; poweroff -f\n');
  expect(await exitCode(), printed.err).toBe(0);
  expect(printed.out).toContain('42 gr\u00fc\u00dfe');
  expect(printed.err).toContain(': guest-shutdown\n');
  expect(printed.err).not.toContain('Ctrl-]');
});

test('a disk with sectors of 4096 bytes', async () => {
  const large = await demoImage('tiny-systemd-boot', {
    ...{ partitionTableType: 'efi', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0, sectorSize: 4096 },
  });
  const { child, printed, until, exitCode } = start([...CLI, 'run', large.image]);
  await until(/login: $/);
  child.stdin.write('root\n');
  await until(/~ # /);
  child.stdin.end('cat /sys/class/block/vda/queue/logical_block_size; poweroff -f\n');
  expect(await exitCode(), printed.err).toBe(0);
  expect(printed.out).toMatch(/^4096\r?$/m);
});

test('it ends without an EPIPE message if its reader closes the pipe', async () => {
  const pipeline = 'set -o pipefail; "$@" < /dev/null | head -c 50 > /dev/null';
  const { exitCode, stderr } = await localExecutor.run(['bash', '-c', pipeline, 'bash', ...run()]);
  expect(exitCode, stderr.toString('utf8')).toBe(0);
  expect(stderr.toString('utf8')).toMatch(/: ended\n$/);
  expect(stderr.toString('utf8')).not.toMatch(/EPIPE|Error/);
});

test('a terminal without a size works, and Ctrl-] ends it', async () => {
  const command = `stty rows 0 cols 0; exec ${run().map(quoteForDisplay).join(' ')}`;
  const { child, printed, until, exitCode } = start([
    'script',
    '--quiet',
    '--return',
    '--command',
    command,
    '/dev/null',
  ]);
  await until(/Ctrl-\] ends it/);
  await until(/SeaBIOS/);
  child.stdin.write('\x1d');
  expect(await exitCode(), printed.out).toBe(0);
  expect(printed.out).toMatch(/: ended\r\n/);
  expect(printed.out).not.toMatch(/Error|^ +at /m);
});

test('a signal ends it with the status of an interrupt', async () => {
  const { child, printed, until, exitCode } = start(run());
  await until(/SeaBIOS/);
  child.kill('SIGTERM');
  expect(await exitCode(), printed.err).toBe(130);
  expect(printed.err).toMatch(/: ended\n$/);
});

test('loopback ports are forwarded to the guest; an invalid port is refused before anything starts', async () => {
  const probe = createServer();
  await once(probe.listen(0, '127.0.0.1'), 'listening');
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), 'close');
  const { child, until } = start([...run(), '--port', `${port}:22`, '--port', `${port + 1}`]);
  await until(/login: $/);
  // QEMU listens for the guest.
  for (const at of [port, port + 1]) {
    const connection = connect(at, '127.0.0.1');
    await once(connection, 'connect');
    connection.destroy();
  }
  child.kill('SIGTERM');
  const { exitCode, stderr } = await localExecutor.run([...run(), '--port', '22:ssh', '--credential', 'x']);
  expect(exitCode).toBe(2);
  expect(stderr.toString('utf8')).toMatch(/--credential \(number 1\)|--port \(number 1\): "22:ssh" is not HOST:GUEST/);
});

test('--keep, as docs/command-line.md has it: a second run continues, and the image stays as it is', async () => {
  const directory = await tempDirectory();
  await symlink(image.image, join(directory, 'nixos.img'));
  const before = await digest(image.image);
  const runLine = async (line: string, command: string) => {
    const [, ...args] = line.split(' ');
    const { child, printed, until, exitCode } = start([...CLI, ...args], directory);
    await until(/login: $/);
    child.stdin.write('root\n');
    await until(/~ # /);
    child.stdin.end(`${command}\n`);
    return { printed, exitCode: await exitCode() };
  };
  const [first = '', second = ''] = commandsOf(codeBlock('nixos-disk-image run nixos.img --keep'));
  const wrote = await runLine(first, 'echo was here > /kept; sync; poweroff -f');
  expect(wrote.exitCode, wrote.printed.err).toBe(0);
  expect(wrote.printed.err).toContain('what it writes is kept in changes.qcow2');
  expect((await runLine(second, 'echo "/kept $(cat /kept)"; poweroff -f')).printed.out).toContain('/kept was here');
  for (const command of commandsOf(codeBlock('qemu-img convert -O qcow2 changes.qcow2')))
    await runProgram(['bash', '-euc', command], { cwd: directory });
  const whole = 'nixos-disk-image run whole.qcow2 --snapshot';
  expect((await runLine(whole, 'echo "/kept $(cat /kept)"; poweroff -f')).printed.out).toContain('/kept was here');
  expect(await digest(image.image)).toBe(before);
  const both = await localExecutor.run([...CLI, 'run', 'nixos.img', '--keep', 'x', '--snapshot'], { cwd: directory });
  expect(both.exitCode).toBe(2);
});

test('--keep: a signal lets QEMU write down what it holds', async () => {
  const keep = join(await tempDirectory(), 'changes.qcow2');
  const { child, printed, until, exitCode } = start([...run(), '--keep', keep]);
  await until(/login: $/);
  child.kill('SIGTERM');
  expect(await exitCode(), printed.err).toBe(130);
  const { exitCode: checked, stdout } = await localExecutor.run(['qemu-img', 'check', keep]);
  expect(checked, stdout.toString('utf8')).toBe(0);
});
