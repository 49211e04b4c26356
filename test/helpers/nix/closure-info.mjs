import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';

const { closure, outputs } = JSON.parse(readFileSync('.attrs.json', 'utf8'));
mkdirSync(outputs.out);
writeFileSync(`${outputs.out}/store-paths`, closure.map(({ path }) => `${path}\n`).join(''));
writeFileSync(
  `${outputs.out}/registration`,
  closure
    .flatMap(({ path, narHash, narSize, references }) => [path, narHash, narSize, '', references.length, ...references])
    .map((line) => `${line}\n`)
    .join(''),
);
