import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemKernel } from '../../../../harness/builder/builder-kernel.ts';
import { type BuilderVm, startBuilderVm } from '../../../../harness/builder/builder-vm.ts';
import { MachineExitedError } from '../../../../harness/errors.ts';
import { removeTree } from '../../../../lib/host-files/private-output.ts';
import { AbortedError, ToolMissingError } from '../../../../lib/run/errors.ts';
import { createDisk } from '../../../../lib/steps/create-disk.ts';
import { MIB } from '../../../../lib/units.ts';
import { prepareDemo } from '../../../../vm-images/demo.ts';
import { tempDirectory } from '../../../helpers/temp-directory.ts';

async function disk(): Promise<string> {
  const image = join(await tempDirectory(), 'disk,1.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  return image;
}

let shared: BuilderVm;
beforeAll(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndi-vm-'));
  const image = join(directory, 'disk.img');
  await createDisk({ image, sizeBytes: 16 * MIB });
  shared = await startBuilderVm({ image });
  afterAll(async () => {
    await shared[Symbol.asyncDispose]();
    await removeTree(directory);
  });
});

test('exit codes, signals, both streams', async () => {
  const result = await shared.run(['sh', '-c', 'echo out; echo err >&2; exit 7']);
  expect([result.exitCode, result.signal, result.stdout.toString(), result.stderr.toString()]).toEqual([
    7,
    undefined,
    'out\n',
    'err\n',
  ]);
  const killed = await shared.run(['sh', '-c', 'kill -TERM $$']);
  expect([killed.exitCode, killed.signal]).toEqual([undefined, 'SIGTERM']);
});

test('arguments are passed unchanged: nothing is expanded or split', async () => {
  const odd = ['a b', "it's", '$(id)', '', '-n', 'new\nline', 'ünïcode', '*'];
  const result = await shared.run(['sh', '-c', 'for a; do printf "%s\\0" "$a"; done', 'sh', ...odd]);
  expect(result.stdout.toString('utf8').split('\0').slice(0, -1)).toEqual(odd);
});

test('working directory and environment', async () => {
  const result = await shared.run(['sh', '-c', 'pwd; echo "$GREETING"'], {
    cwd: '/proc',
    env: { GREETING: 'hello there' },
  });
  expect(result.stdout.toString()).toBe('/proc\nhello there\n');
});

test('standard input and output are binary-safe in both directions at once', async () => {
  const bytes = randomBytes(5 * MIB);
  const result = await shared.run(['cat'], {
    input: Readable.from([bytes.subarray(0, 12_345), bytes.subarray(12_345)]),
  });
  expect(result.stdout.equals(bytes)).toBe(true);
});

test('100 MB of output are streamed without loss', async () => {
  const hash = createHash('sha256');
  let bytes = 0;
  const result = await shared.run(['sh', '-c', 'dd if=/dev/zero bs=1M count=100 2>/dev/null | tr "\\0" x'], {
    onStdout: (chunk) => {
      bytes += chunk.length;
      hash.update(chunk);
    },
  });
  expect(bytes).toBe(100 * MIB);
  expect(hash.digest('hex')).toBe(
    createHash('sha256')
      .update(Buffer.alloc(100 * MIB, 'x'))
      .digest('hex'),
  );
  expect(result.stdout.length).toBeLessThan(MIB);
});

test('a command that does not read its input still ends', async () => {
  const result = await shared.run(['true'], { input: Buffer.alloc(4 * MIB) });
  expect(result.exitCode).toBe(0);
});

test('many commands at once', async () => {
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, index) => shared.run(['sh', '-c', `cat; echo ${index}`], { input: `in ${index} ` })),
  );
  expect(results.map(({ stdout }) => stdout.toString())).toEqual(
    Array.from({ length: 20 }, (_, index) => `in ${index} ${index}\n`),
  );
});

test('an abort kills the command in the guest and its child processes', async () => {
  const abort = new AbortController();
  let resolve = (): void => {};
  const started = new Promise<void>((done) => {
    resolve = done;
  });
  const running = shared.run(['sh', '-c', 'sleep 4242 & setsid sleep 4243 & echo started; wait'], {
    signal: abort.signal,
    onStdout: () => resolve(),
  });
  await Promise.race([started, running]);
  abort.abort();
  await expect(running).rejects.toThrow(AbortedError);
  const left = await shared.run([
    'sh',
    '-c',
    'for i in 1 2 3 4 5 6 7 8 9; do ps | grep -q "sleep 424[23]" || exit 0; usleep 20000; done; ps; exit 1',
  ]);
  expect(left.exitCode, left.stdout.toString()).toBe(0);
});

test('background processes of a command end with it', async () => {
  const result = await shared.run(['sh', '-c', 'setsid sleep 4244 & echo done']);
  expect(result.stdout.toString()).toBe('done\n');
  expect((await shared.run(['sh', '-c', 'ps | grep -c "[s]leep 4244"'])).stdout.toString()).toBe('0\n');
});

test('a missing program is reported as such', async () => {
  await expect(shared.run(['no-such-program'])).rejects.toThrow(ToolMissingError);
});

test('written data is in the image after stop', async () => {
  const image = await disk();
  const vm = await startBuilderVm({ image });
  await vm.run(['sh', '-c', 'printf written | dd of=/dev/vda bs=512 seek=9 conv=notrunc 2>/dev/null']);
  await vm.stop();
  const handle = await open(image);
  const { buffer } = await handle.read(Buffer.alloc(7), 0, 7, 9 * 512);
  await handle.close();
  expect(buffer.toString()).toBe('written');
});

test('a guest that panics fails the running command at once, with its last lines', async () => {
  const vm = await startBuilderVm({ image: await disk() });
  const running = vm.run(['sh', '-c', 'echo c > /proc/sysrq-trigger; sleep 1000']);
  await expect(running).rejects.toThrow(MachineExitedError);
  await expect(running).rejects.toThrow(/Kernel panic - not syncing: sysrq triggered crash/);
  await expect(vm.run(['true'])).rejects.toThrow(MachineExitedError);
  await vm[Symbol.asyncDispose]();
});

test('a QEMU that is killed fails the running command', async () => {
  const vm = await startBuilderVm({ image: await disk() });
  const running = vm.run(['sleep', '1000']);
  process.kill(vm.pid, 'SIGKILL');
  await expect(running).rejects.toThrow(/SIGKILL/);
  await vm[Symbol.asyncDispose]();
});

test('an abort during the start ends it', async () => {
  const abort = new AbortController();
  const starting = startBuilderVm({ image: await disk(), signal: abort.signal });
  starting.catch(() => {});
  await delay(300);
  abort.abort();
  await expect(starting).rejects.toMatchObject({ code: 'E_ABORTED' });
});

test('q35 works as well as microvm', async () => {
  const vm = await startBuilderVm({ image: await disk(), machine: 'q35' });
  expect((await vm.run(['cat', '/sys/block/vda/size'])).stdout.toString()).toBe('32768\n');
  await vm.stop();
});

test('the kernel of the installed system works too', async () => {
  const { store, systems } = await prepareDemo();
  const kernel = await systemKernel(systems['tiny-none'] ?? '', store);
  expect(kernel.kernel.startsWith(store)).toBe(true);
  const vm = await startBuilderVm({ image: await disk(), kernel });
  expect((await vm.run(['cat', '/sys/block/vda/size'])).stdout.toString()).toBe('32768\n');
  await vm.stop();
});

test('an argument with a NUL is refused, and the machine continues', async () => {
  await expect(shared.run(['echo', 'a\0b'])).rejects.toThrow(/NUL/);
  expect((await shared.run(['echo', 'on'])).stdout.toString()).toBe('on\n');
});
