import type { FileAttribute } from '../formats/ext4/attributes.ts';
import type { StepRunner } from '../run/step.ts';

/** Reads the extended attributes of a path and everything below it. @returns a map by path; paths are decoded as
 *  latin1.
 *  @see getfattr(1). Runs: getfattr. */
export async function readAttributes(step: StepRunner, path: string): Promise<Map<string, FileAttribute[]>> {
  const argv = ['getfattr', '--recursive', '--physical', '--no-dereference', '--absolute-names'];
  const { stdout } = await step.run([...argv, '--dump', '--match=-', '--encoding=hex', '--', path], {
    what: `cannot read the extended attributes of ${path}`,
  });
  return parseDump(stdout.toString('latin1'));
}

/** Parses getfattr's output: for each file, a line with its name, lines with attributes, and an empty line. getfattr
 *  writes newlines and backslashes as octal escapes, and in attribute names also the equals sign. */
function parseDump(dump: string): Map<string, FileAttribute[]> {
  const found = new Map<string, FileAttribute[]>();
  let attributes: FileAttribute[] = [];
  for (const line of dump.split('\n')) {
    const file = /^# file: (.*)$/s.exec(line)?.[1];
    if (file !== undefined) {
      attributes = [];
      found.set(withoutOctal(file), attributes);
      continue;
    }
    const [, name, hex = ''] = /^([^=]+)(?:=(?:0x([0-9a-f]*))?)?$/i.exec(line) ?? [];
    if (name === undefined) continue;
    attributes.push({ name: withoutOctal(name), value: Buffer.from(hex, 'hex') });
  }
  return found;
}

function withoutOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
