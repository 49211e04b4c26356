import { expect, test } from 'vitest';
import { build } from '../../../cli/commands/build.ts';
import { makeCommand } from '../../../cli/commands/declare.ts';
import { specificationOf } from '../../../cli/specification-flags.ts';
import { imageSpecSchema, parseImageSpec } from '../../../lib/spec/image-spec.ts';

/** Returns the specification from a command line. */
function specificationFor(...argv: string[]): Record<string, unknown> {
  let specification: Record<string, unknown> = {};
  const declaration = {
    ...build,
    run: async (given: Parameters<typeof build.run>[0]) => {
      specification = specificationOf(given);
      return 0;
    },
  };
  makeCommand(declaration, new AbortController().signal).exitOverride().parse(argv, { from: 'user' });
  return specification;
}

/** Options of a specification that are no flags, and why. */
const WITHOUT_FLAG: Readonly<Record<string, string>> = {
  name: 'the name of a derivation: it means nothing outside of Nix',
};

test('every option of a specification has a flag, but for those that have a reason', () => {
  const names = Object.keys(imageSpecSchema.shape).filter((name) => WITHOUT_FLAG[name] === undefined);
  const flags = new Set(makeCommand(build, new AbortController().signal).options.map((one) => one.attributeName()));
  const lower = new Set([...flags].map((flag) => flag.toLowerCase()));
  expect(names.filter((name) => !lower.has(name.toLowerCase()))).toEqual([]);
});

test.each<[string[], Record<string, unknown>]>([
  [[], {}],
  [['--no-install-boot-loader'], { installBootLoader: false }],
  [['--touch-efi-vars', '--only-nix-store'], { touchEFIVars: true, onlyNixStore: true }],
  [['--disk-size', '4096', '--boot-size', '512M'], { diskSize: 4096, bootSize: '512M' }],
  [['--disk-size', 'auto'], { diskSize: 'auto' }],
  [['--boot-loader-timeout', '0', '--no-editor'], { bootLoaderTimeout: 0, editor: false }],
  [['--boot-loader-timeout', 'none', '--editor'], { bootLoaderTimeout: 'none', editor: true }],
  [['--console-mode', '1', '--timeout-style', 'hidden'], { consoleMode: '1', timeoutStyle: 'hidden' }],
  [['--root-gpuid', 'F222513B-DED1-49FA-B591-20CE86A2FE70'], { rootGPUID: 'F222513B-DED1-49FA-B591-20CE86A2FE70' }],
  [['--additional-paths', '/nix/store/a', '/nix/store/b'], { additionalPaths: ['/nix/store/a', '/nix/store/b'] }],
  [['--post-vm', 'gzip', '--post-vm=-k'], { postVM: ['gzip', '-k'] }],
  [['--base-name', '12'], { baseName: '12' }],
  [
    [
      '--contents',
      '{"source":"a:b,c=d \\"e\\"","target":"/srv/\\n:x"}',
      '--contents',
      '[{"source":"f","target":"/g"}]',
    ],
    {
      contents: [
        { source: 'a:b,c=d "e"', target: '/srv/\n:x' },
        { source: 'f', target: '/g' },
      ],
    },
  ],
])('%j', (argv, expected) => {
  expect(specificationFor(...argv)).toEqual(expected);
  if (argv.length > 0)
    expect(() => parseImageSpec({ toplevel: '/x', fsType: 'ext4', ...expected })).not.toThrow(/no such option/);
});

test.each([
  ['{', /is not JSON/],
  ['"./site:/srv"', /must be a JSON object, or an array of them/],
  ['[1]', /must be a JSON object, or an array of them/],
])('--contents %s is refused by the command line', (json, message) => {
  expect(() => specificationFor('--contents', json)).toThrow(message);
});

test('an entry of --contents is checked as one of a file is', () => {
  const specification = specificationFor(
    '--toplevel',
    'x',
    '--contents',
    '{"source":"a","target":"/../b","usr":"root"}',
  );
  expect(() => parseImageSpec(specification)).toThrow(
    /contents\[0\]\.usr: there is no such option; did you mean "user"\?/,
  );
  expect(() => parseImageSpec(specification)).toThrow(/contents\[0\].target: .*leaves the root/);
});

test('the command line refuses an invalid choice', () => {
  expect(() => specificationFor('--console-mode', '17')).toThrow(/Allowed choices are 0, 1, 2/);
});
