import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile } from '../../harness/cache-directory.ts';

export interface CodeBlock {
  /** The path of README.md or a document, from the checkout. */
  readonly file: string;
  readonly language: string;
  readonly text: string;
}

export interface Document {
  /** From the checkout. */
  readonly file: string;
  readonly text: string;
}

/** The README and the docs. */
export function documents(): Document[] {
  const docs = readdirSync(packageFile('docs')).filter((name) => name.endsWith('.md'));
  const files = ['README.md', ...docs.map((name) => join('docs', name))];
  return files.map((file) => ({ file, text: readFileSync(packageFile(file), 'utf8') }));
}

/** Every fenced block of the README and the docs. */
export function codeBlocks(): CodeBlock[] {
  return documents().flatMap(({ file, text }) =>
    [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', block = '']) => ({
      ...{ file, language },
      text: block,
    })),
  );
}

/** The test that runs each block, by the beginning of the block. test/unit/docs.test.ts compares the list with the blocks. */
export const BLOCKS_RUN_BY: readonly (readonly [beginning: string, test: string])[] = [
  ['[\n  { "type": "esp", "size": "300M"', 'test/tool/lib/build/partitions.test.ts'],
  ['{\n  fileSystems."/nix/store"', 'test/tool/lib/build/partitions.test.ts'],
  ['{\n  fileSystems."/" =', 'test/tool/lib/build/partitions.test.ts'],
  ['{ "subvolumes":', 'test/tool/lib/build/partitions.test.ts'],
  ['{ "mountPoint": "/nix/store"', 'test/tool/lib/build/partitions.test.ts'],
  ['npm run quickstart', 'test/unit/docs.test.ts'],
  ["nix-build '<nixpkgs/nixos>'", 'test/vm/docs.test.ts'],
  [
    'nixos-disk-image build --toplevel ./result --partition-table-type hybrid --boot-loader-from',
    'test/vm/docs.test.ts',
  ],
  ['{\n  "toplevel": "./result"', 'test/vm/docs.test.ts'],
  ['nixos-disk-image build image.json', 'test/vm/docs.test.ts'],
  ['// build-by-hand.ts', 'test/vm/readme.test.ts'],
  ['// build-offline.ts', 'test/vm/readme.test.ts'],
  ['// cleanup.ts', 'test/vm/readme.test.ts'],
  ['npm install && npm pack', 'test/vm/readme.test.ts'],
  ['cli ──', 'test/unit/house.test.ts'],
  ['// errors.ts', 'test/vm/readme.test.ts'],
  ["import { expect, test } from 'nixos-disk-image/harness/vitest';", 'test/vm/harness/shards.test.ts'],
  ['nixos-disk-image verify images/nixos.img --json', 'test/vm/docs.test.ts'],
  ['nixos-disk-image keys generate', 'test/vm/docs.test.ts'],
  ['nixos-disk-image size', 'test/vm/docs.test.ts'],
  ['nixos-disk-image shrink', 'test/vm/docs.test.ts'],
  ['{\n  "toplevel": "./system"', 'test/vm/docs.test.ts'],
  ['# encrypted.nix', 'test/vm/docs.test.ts'],
  ['{\n  "toplevel": "./encrypted-system"', 'test/vm/docs.test.ts'],
  ['(umask 077', 'test/vm/docs.test.ts'],
  ['{\n  "toplevel": "./server"', 'test/vm/docs.test.ts'],
  ['nixos-disk-image build server.json', 'test/vm/docs.test.ts'],
  ['# repart.d/10-esp.conf', 'test/vm/docs.test.ts'],
  ['# repart.d/20-root.conf', 'test/vm/docs.test.ts'],
  ['nixos-disk-image build --toplevel ./efi-system --repart', 'test/vm/docs.test.ts'],
  ['nix eval --json .#nixosConfigurations.myhost.config.disko.devices', 'test/vm/docs.test.ts'],
  ['// partitions.ts', 'test/vm/readme.test.ts'],
  ['# image.nix', 'test/vm/nix/make-disk-image.test.ts'],
  ['# image-script.nix', 'test/vm/nix/make-disk-image.test.ts'],
  ['# boot.yml', 'test/vm/cli/action.test.ts'],
  ['# .gitlab-ci.yml', 'test/vm/cli/action.test.ts'],
  ['# flake.nix', 'test/tool/nix/flake.test.ts'],
  ['docker build', 'test/toolchain/docs.test.ts'],
  ['// build-in-container.mjs', 'test/toolchain/docs.test.ts'],
  ['nixos-disk-image verify nixos.img', 'test/vm/docs.test.ts'],
  ['// test/image.test.ts', 'test/vm/harness/shards.test.ts'],
  ['// vitest.config.ts', 'test/vm/harness/shards.test.ts'],
  ['jobs:', 'test/vm/harness/shards.test.ts'],
  ['nixos-disk-image schema --of inspect', 'test/tool/cli/docs.test.ts'],
  ['nixos-disk-image build --toplevel ./result --partition-table-type efi --explain', 'test/tool/cli/docs.test.ts'],
  ['# for bash', 'test/tool/cli/completion.test.ts'],
  ['# for zsh', 'test/tool/cli/completion.test.ts'],
  ['# for fish', 'test/tool/cli/completion.test.ts'],
  ['nixos-disk-image run nixos.img --keep', 'test/vm/cli/run.test.ts'],
  ['qemu-img convert -O qcow2 changes.qcow2', 'test/vm/cli/run.test.ts'],
];

/** Returns the block with this beginning. */
export function codeBlock(beginning: string): CodeBlock {
  const found = codeBlocks().filter(({ text }) => text.startsWith(beginning));
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${found.length} blocks of the docs begin with ${beginning}`);
  return found[0];
}

/** Returns the commands of a shell block, one per line, without comments. */
export function commandsOf({ text }: CodeBlock): string[] {
  return text
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.replace(/\s{2,}#.*$/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
