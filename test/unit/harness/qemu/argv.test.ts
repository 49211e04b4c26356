import { expect, test } from 'vitest';
import {
  consoleArgs,
  diskArgs,
  escapeOptionValue,
  imageNode,
  machineArgs,
  overlayNode,
  qmpArgs,
} from '../../../../harness/qemu/argv.ts';

test('commas in option values are doubled', () => {
  expect(escapeOptionValue('a,b')).toBe('a,,b');
  expect(qmpArgs('/tmp/a,b/qmp')[1]).toContain('path=/tmp/a,,b/qmp,');
  expect(consoleArgs('/l,1')[1]).toContain('logfile=/l,,1');
});

test('block devices are JSON, with any file name', () => {
  const name = '/tmp/a b,c="d":json:{}\n.img';
  const [, node = ''] = diskArgs(imageNode(name, 'raw'), 'virtio');
  expect(JSON.parse(node).file.filename).toBe(name);
});

test('an image under an overlay is read-only, and QEMU takes no file name from its header', () => {
  const node = overlayNode('/o', '/i', 'qcow2');
  expect(node).toMatchObject({
    driver: 'qcow2',
    backing: { driver: 'qcow2', 'read-only': true, backing: null, file: { filename: '/i', 'read-only': true } },
  });
});

test('machines have no default devices and no network', () => {
  const argv = machineArgs({ type: 'q35', accelerator: 'tcg', memoryMiB: 512, cpus: 1, name: 'x' });
  expect(argv).toContain('-nodefaults');
  expect(argv).toContain('-no-reboot');
  expect(argv.join(' ')).not.toMatch(/-net|user,/);
});
