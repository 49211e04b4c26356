import { expect, test } from 'vitest';
import { codeBlock } from '../../helpers/code-blocks.ts';
import { flake } from '../../helpers/nix/evaluate.ts';

async function value(attribute: string, apply?: string): Promise<unknown> {
  const more = apply === undefined ? [] : ['--apply', apply];
  return JSON.parse(await flake(['eval', '--json', `FLAKE#${attribute}`, ...more]));
}

test('the flake has its outputs for users', async () => {
  const outputs = JSON.parse(await flake(['flake', 'show', '--json', 'FLAKE'])) as Record<string, object>;
  expect(Object.keys(outputs).sort()).toEqual([
    'apps',
    'checks',
    'devShells',
    'formatter',
    'lib',
    'nixosModules',
    'overlays',
    'packages',
  ]);
  expect(outputs).toMatchObject({
    packages: { 'x86_64-linux': { default: { type: 'derivation' }, 'nixos-disk-image': { type: 'derivation' } } },
    checks: { 'x86_64-linux': { boot: { type: 'derivation' }, package: { type: 'derivation' } } },
    nixosModules: { default: { type: 'nixos-module' }, image: { type: 'nixos-module' } },
  });
});

test('`nix run` finds the program', async () => {
  expect(await value('apps.x86_64-linux.default.program')).toMatch(/-nixos-disk-image[^/]*\/bin\/nixos-disk-image$/);
});

test('the overlay adds the tool to the packages', async () => {
  expect(
    await value('overlays.default', 'overlay: (overlay (import <nixpkgs> { }) { }).nixos-disk-image.meta.mainProgram'),
  ).toBe('nixos-disk-image');
});

test('the functions are those in nix/', async () => {
  const names =
    '({ makeDiskImage, makeDiskImageScript, verifyBoot }: [ (builtins.isFunction makeDiskImageScript) (builtins.functionArgs makeDiskImage).config (builtins.functionArgs verifyBoot).image ])';
  expect(await value('lib', names)).toEqual([true, false, false]);
});

test('the flake in the docs', async () => {
  const { text } = codeBlock('# flake.nix');
  const select = `FLAKE#packages.x86_64-linux.image.filename`;
  expect(JSON.parse(await flake(['eval', '--json', select], text))).toBe('nixos-image-25.11.demo.qcow2');
  expect(JSON.parse(await flake(['eval', '--json', 'FLAKE#checks.x86_64-linux.boot.name'], text))).toBe('verify-boot');
});
