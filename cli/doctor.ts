import { type AcceleratorVerdict, chooseAccelerator } from '../harness/builder/accelerator.ts';
import { type CacheDirectory, findCacheDirectory } from '../harness/cache-directory.ts';
import { findUefiFirmware, type UefiFirmware } from '../harness/qemu/firmware.ts';
import { loadNodePty } from '../harness/qemu/node-pty.ts';
import { STEPS } from '../lib/all-steps.ts';
import { DiskImageError } from '../lib/run/errors.ts';
import { localExecutor } from '../lib/run/local-executor.ts';
import { findTool, TOOLS, type Tool } from '../lib/run/tools.ts';
import { coloured } from './colours.ts';
import { EXIT } from './exit-codes.ts';

interface ToolReport {
  readonly name: string;
  readonly path: string | undefined;
  readonly version: string | undefined;
  readonly purpose: string;
  readonly optional: boolean;
  readonly install: string;
  /** Why a program that is there cannot be run. */
  readonly fault: string | undefined;
}

/** What was asked, or why there is no answer. */
type Answer<T> = { readonly value: T } | { readonly fault: string; readonly hint: string | undefined };

interface Diagnosis {
  readonly tools: readonly ToolReport[];
  readonly nodePty: Answer<true>;
  readonly cache: Answer<CacheDirectory>;
  readonly firmware: Answer<UefiFirmware>;
  readonly accelerator: Answer<AcceleratorVerdict>;
}

export async function doctorCommand(flags: { readonly json?: boolean }): Promise<number> {
  const diagnosis = await diagnose();
  const good = isGood(diagnosis);
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify(asJson(diagnosis, good), undefined, 2)}\n`
      : `${coloured(asText(diagnosis).join('\n'))}\n`,
  );
  return good ? EXIT.good : EXIT.harness;
}

async function diagnose(): Promise<Diagnosis> {
  const tools = await Promise.all(TOOLS.map(inspectTool));
  const nodePty = await ask(async () => loadNodePty().then(() => true as const));
  const cache = await ask(async () => findCacheDirectory());
  const firmware = await ask(() => findUefiFirmware());
  const canProbe = 'value' in nodePty && 'value' in cache && !tools.some(isMissing);
  const accelerator = canProbe
    ? await ask(() => chooseAccelerator())
    : { fault: 'not tried: what it needs is missing', hint: undefined };
  return { tools, nodePty, cache, firmware, accelerator };
}

async function ask<T>(question: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await question() };
  } catch (error) {
    if (error instanceof DiskImageError) return { fault: error.shortMessage, hint: error.hint };
    return { fault: error instanceof Error ? error.message : String(error), hint: undefined };
  }
}

function isMissing({ path, fault, optional }: ToolReport): boolean {
  return !optional && (path === undefined || fault !== undefined);
}

function isGood({ tools, nodePty, cache, firmware }: Diagnosis): boolean {
  return !tools.some(isMissing) && [nodePty, cache, firmware].every((answer) => 'value' in answer);
}

function asJson({ tools, nodePty, cache, firmware, accelerator }: Diagnosis, good: boolean): Record<string, unknown> {
  const directory = 'value' in cache ? cache.value.path : undefined;
  return {
    good,
    node: process.version,
    cacheFolder: directory,
    cache: 'value' in cache ? { directory, note: cache.value.note } : cache,
    nodePty: 'value' in nodePty ? { works: true } : { works: false, ...nodePty },
    tools,
    uefi: 'value' in firmware ? firmware.value : undefined,
    ...('value' in firmware ? {} : { uefiFault: firmware }),
    accelerator: 'value' in accelerator ? accelerator.value : { accelerator: 'tcg', reason: accelerator.fault },
  };
}

function asText({ tools, nodePty, cache, firmware, accelerator }: Diagnosis): string[] {
  const lines = tools.map(toolLine);
  lines.push(
    'value' in firmware
      ? line('ok', 'UEFI firmware', firmware.value.code)
      : line('MISSING', 'UEFI firmware', `${firmware.fault}; for verify --firmware efi`, firmware.hint),
    'value' in accelerator ? acceleratorLine(accelerator.value) : line('?', 'KVM', accelerator.fault, accelerator.hint),
    line('ok', 'Node', process.version),
    'value' in nodePty
      ? line('ok', 'node-pty', 'for the builder VM, verify and run')
      : line('MISSING', 'node-pty', `${nodePty.fault}; for the builder VM, verify and run`, nodePty.hint),
  );
  if (!('value' in cache)) lines.push(line('MISSING', 'cache directory', cache.fault, cache.hint));
  else if (cache.value.note === undefined) lines.push(line('ok', 'cache directory', cache.value.path));
  else lines.push(line('note', 'cache directory', `${cache.value.path}: ${cache.value.note}`));
  const packages = new Set(
    tools.filter((tool) => tool.path === undefined && !tool.optional).map((tool) => tool.install),
  );
  if ('fault' in firmware && firmware.hint !== undefined) packages.add('ovmf');
  if (packages.size > 0) lines.push('', `To install what is missing: apt-get install ${[...packages].join(' ')}`);
  return lines;
}

function line(state: string, name: string, text: string, hint?: string): string {
  return `${state.padEnd(8)}${name.padEnd(20)}${text}${hint === undefined ? '' : `\n${''.padEnd(28)}${hint}`}`;
}

function toolLine({ name, path, version, purpose, optional, install, fault }: ToolReport): string {
  if (path === undefined) {
    const what = install.startsWith('none') ? `not in Debian; in nixpkgs` : `install ${install}`;
    return line(optional ? '–' : 'MISSING', name, `${what}; ${optional ? 'optional, ' : ''}for ${purpose}`);
  }
  if (fault !== undefined) return line('BROKEN', name, `${path}: ${fault}; for ${purpose}`);
  return line('ok', name, version ?? path);
}

function acceleratorLine({ accelerator, reason }: AcceleratorVerdict): string {
  return accelerator === 'kvm'
    ? line('ok', 'KVM', `is used: ${reason}`)
    : line('slow', 'KVM', `is not used: ${reason}`);
}

/** Who runs it. */
function purposeOf({ name, purpose }: Tool): string {
  const steps = STEPS.filter(({ runs }) => runs.includes(name)).map((step) => step.name);
  return [...steps, ...(purpose === undefined ? [] : [purpose])].join(', ');
}

async function inspectTool(tool: Tool): Promise<ToolReport> {
  const path = await findTool(tool.name);
  const described = { name: tool.name, purpose: purposeOf(tool), optional: tool.optional, install: tool.debian };
  if (path === undefined) return { ...described, path, version: undefined, fault: undefined };
  const ran = await ask(() => localExecutor.run([path, ...tool.versionArgs]));
  if (!('value' in ran)) return { ...described, path, version: undefined, fault: ran.fault };
  const { exitCode, signal, stdout, stderr } = ran.value;
  const text = `${stdout.toString('utf8')}\n${stderr.toString('utf8')}`;
  // Some exit with another status than 0 when they are asked for their version; these are the dynamic linker's and the kernel's.
  const cannotRun = signal !== undefined || exitCode === 126 || exitCode === 127;
  const fault = cannotRun
    ? `cannot be run: ${text.trim().split('\n')[0] || signal || `status ${exitCode}`}`
    : undefined;
  const version = cannotRun
    ? undefined
    : text
        .split('\n')
        .find((one) => /\d+\.\d+/.test(one))
        ?.trim();
  return { ...described, path, version, fault };
}
