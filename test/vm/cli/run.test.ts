import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../../harness/cache-directory.ts';
import type { BuiltImage } from '../../../lib/build/build-image.ts';
import { quoteForDisplay } from '../../../lib/run/errors.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { demoImage } from '../../helpers/demo-image.ts';

let image: BuiltImage;
beforeAll(async () => {
  image = await demoImage('tiny-grub-hybrid', {
    ...{ partitionTableType: 'hybrid', bootLoaderFrom: 'bootspec', bootLoaderTimeout: 0 },
  });
});

const run = (): string[] => [
  ...[process.execPath, packageFile('dist/cli/main.js'), 'run', image.image, '--firmware', 'bios'],
];

/** A program, its output on both streams, and its end. */
function start(argv: readonly string[]) {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'pipe' });
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
