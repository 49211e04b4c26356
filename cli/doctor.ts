import { chooseAccelerator } from '../harness/builder/accelerator.ts';
import { cacheFolder } from '../harness/cache-folder.ts';
import { findUefiFirmware } from '../harness/qemu/firmware.ts';
import { localExecutor } from '../lib/local-executor.ts';
import { findTool, TOOLS } from '../lib/tools.ts';
import { EXIT } from './exit-codes.ts';

interface ToolReport {
  readonly name: string;
  readonly path: string | undefined;
  readonly version: string | undefined;
  readonly purpose: string;
  readonly optional: boolean;
  readonly install: string;
}

export async function doctorCommand(flags: { readonly json?: boolean }): Promise<number> {
  const tools = await Promise.all(TOOLS.map(inspectTool));
  const missing = tools.filter(({ path, optional }) => path === undefined && !optional);
  const firmware = await findUefiFirmware().catch((error: Error) => error);
  const accelerator =
    missing.length === 0
      ? await chooseAccelerator()
      : { accelerator: 'tcg', reason: 'not probed: programs are missing' };
  const good = missing.length === 0 && !(firmware instanceof Error);
  if (flags.json === true) {
    const uefi = firmware instanceof Error ? undefined : firmware;
    process.stdout.write(
      `${JSON.stringify({ good, node: process.version, cacheFolder: cacheFolder(), tools, uefi, accelerator }, undefined, 2)}\n`,
    );
    return good ? EXIT.good : EXIT.harness;
  }
  const lines = tools.map(({ name, path, version, purpose, optional, install }) => {
    const state = path === undefined ? (optional ? '–   ' : 'MISSING') : 'ok  ';
    return `${state.padEnd(8)}${name.padEnd(20)}${path === undefined ? `install ${install}; ${optional ? 'optional, ' : ''}for ${purpose}` : (version ?? path)}`;
  });
  lines.push(
    `${firmware instanceof Error ? 'MISSING ' : 'ok      '}${'UEFI firmware'.padEnd(20)}${firmware instanceof Error ? 'install ovmf (Debian); for verify --firmware efi' : firmware.code}`,
  );
  lines.push(
    `${accelerator.accelerator === 'kvm' ? 'ok      ' : 'slow    '}${'KVM'.padEnd(20)}${accelerator.accelerator === 'kvm' ? 'works' : 'is not used'}: ${accelerator.reason}`,
  );
  lines.push(`ok      ${'Node'.padEnd(20)}${process.version}`, `ok      ${'cache folder'.padEnd(20)}${cacheFolder()}`);
  if (missing.length > 0)
    lines.push(
      '',
      `To install what is missing: apt-get install ${[...new Set(missing.map(({ install }) => install))].join(' ')}`,
    );
  process.stdout.write(`${lines.join('\n')}\n`);
  return good ? EXIT.good : EXIT.harness;
}

async function inspectTool(tool: (typeof TOOLS)[number]): Promise<ToolReport> {
  const path = await findTool(tool.name);
  const described = { name: tool.name, purpose: tool.purpose, optional: tool.optional === true, install: tool.debian };
  if (path === undefined) return { ...described, path, version: undefined };
  const result = await localExecutor.run([path, ...tool.versionArgs]).catch(() => undefined);
  const text = `${result?.stdout.toString('utf8') ?? ''}\n${result?.stderr.toString('utf8') ?? ''}`;
  const version = text
    .split('\n')
    .find((line) => /\d+\.\d+/.test(line))
    ?.trim();
  return { ...described, path, version };
}
