import { mtoolsEnvironment, mtoolsImage } from '../filesystem/fat.ts';
import type { StepRunner } from '../step.ts';
import type { Finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';
import type { FoundPartition, FoundTable } from './partition-tables.ts';

/** A menu entry of systemd-boot, or of a GRUB whose grub.cfg is on a FAT partition.
 *  @see The Boot Loader Specification, type 1; GRUB manual, "linux" and "initrd" */
export interface LoaderEntry {
  readonly loader: 'systemd-boot' | 'grub';
  /** From the partition's root: `loader/entries/nixos-generation-1.conf`, `grub/grub.cfg`. */
  readonly file: string;
  readonly partition: number;
  readonly title: string;
  readonly version: string;
  readonly linux: string;
  readonly initrd: readonly string[];
  readonly options: string;
}

/** Architectures in the names of EFI loaders, and what the kernel calls a serial port on each. */
const SERIAL_CONSOLE = { x64: /(^|\s)console=ttyS\d/, aa64: /(^|\s)console=ttyAMA\d/ } as const;
export type EfiArchitecture = keyof typeof SERIAL_CONSOLE;

/** What EFI firmware finds. */
export interface EfiBoot {
  /** Of the firmware that it was looked at for: what was asked for, else the one there is a loader for, x64 first. */
  readonly architecture: EfiArchitecture;
  /** Architectures whose firmware finds a loader at the removable path: x64, aa64 … */
  readonly architectures: readonly string[];
  readonly loaders: readonly string[];
  readonly entries: readonly LoaderEntry[];
  /** Whether the entries' kernels are told of a serial console; undefined without entries. */
  readonly serialConsole: boolean | undefined;
  readonly findings: readonly Finding[];
}

/** Machine types of EFI programs. @see PE format, "Machine types" */
const PE_MACHINES: Readonly<Record<number, string>> = { 34404: 'x64', 43620: 'aa64', 332: 'ia32', 20580: 'riscv64' };

/** @param wanted the architecture of the firmware that is to boot it. Runs: mdir, mtype. */
export async function readEfiBoot(
  step: StepRunner,
  image: ImageReader,
  table: FoundTable,
  wanted: EfiArchitecture | undefined,
): Promise<EfiBoot> {
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], stage: Finding['stage'], message: string): void => {
    findings.push({ name, severity, firmware: 'efi', stage, message });
  };
  const nothing = {
    architecture: wanted ?? 'x64',
    architectures: [],
    loaders: [],
    entries: [],
    serialConsole: undefined,
    findings,
  };
  const esps = table.partitions.filter(({ purpose }) => purpose === 'esp');
  if (esps.length === 0) {
    say('no-esp', 'error', 'firmware', 'no partition has the type of an EFI system partition (ESP)');
    return nothing;
  }
  const volumes: Volume[] = [];
  for (const part of table.partitions)
    if (part.purpose === 'esp' || part.purpose === 'xbootldr') {
      const volume = await readVolume(step, image, part);
      if (volume !== undefined) volumes.push(volume);
      else
        say(
          ...(['esp-unreadable', 'fatal', 'firmware'] as const),
          `partition ${part.number} has the type of an ${part.purpose === 'esp' ? 'ESP' : 'XBOOTLDR'}, and holds no FAT filesystem`,
        );
    }
  const loaders = volumes.flatMap(({ files }) => [...files.values()].filter((name) => /^EFI\/.*\.efi$/i.test(name)));
  const architectures: string[] = [];
  const removable = volumes.flatMap(({ files }) =>
    (['x64', 'aa64'] as const).filter((name) => files.has(`efi/boot/boot${name}.efi`)),
  );
  const architecture = wanted ?? (removable.includes('aa64') && !removable.includes('x64') ? 'aa64' : 'x64');
  for (const volume of volumes)
    for (const [key, name] of volume.files) {
      const [, suffix] = /^efi\/boot\/boot(\w+)\.efi$/.exec(key) ?? [];
      if (suffix === undefined) continue;
      architectures.push(suffix);
      const machine = peMachine(await volume.read(name, 1024));
      if (machine !== suffix)
        say(
          ...(['loader-damaged', suffix === architecture ? 'fatal' : 'error', 'firmware'] as const),
          `${name} is ${machine === undefined ? 'no EFI program' : `an EFI program for ${machine}`}`,
        );
    }
  if (volumes.length > 0 && !architectures.includes(architecture)) {
    const others = architectures.length > 0 ? `; it has one for ${architectures.join(', ')}` : '';
    say(
      ...(['no-loader', 'fatal', 'firmware'] as const),
      `the ESP has no \\EFI\\BOOT\\BOOT${architecture.toUpperCase()}.EFI, which is what firmware starts on a new machine${others}`,
    );
  }
  const entries: LoaderEntry[] = [];
  for (const volume of volumes)
    for (const [key, name] of volume.files) {
      const isEntry = /^loader\/entries\/[^/]+\.conf$/.test(key);
      if (!isEntry && !/(^|\/)grub\.cfg$/.test(key)) continue;
      const content = (await volume.read(name, 1024 * 1024)).toString('utf8');
      entries.push(
        ...(isEntry ? [parseEntry(name, volume.partition, content)] : parseGrubConfig(name, volume.partition, content)),
      );
    }
  for (const volume of volumes) findings.push(...(await checkBootFiles(volume, entries)));
  const systemdBoot = loaders.some((name) => /systemd-boot/i.test(name));
  const unified = loaders.some((name) => /^EFI\/Linux\//i.test(name));
  if (systemdBoot && !entries.some(({ loader }) => loader === 'systemd-boot') && !unified)
    say('no-entries', 'fatal', 'loader', 'systemd-boot is there, and no entry in loader/entries for it to start');
  const serialConsole =
    entries.length === 0 ? undefined : entries.some(({ options }) => SERIAL_CONSOLE[architecture].test(options));
  return { architecture, architectures: [...new Set(architectures)], loaders, entries, serialConsole, findings };
}

/** Looks at the kernels and initrds of the entries on a partition, each file once. */
async function checkBootFiles(volume: Volume, entries: readonly LoaderEntry[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const { file: entry, partition, loader, linux, initrd } of entries)
    for (const path of partition === volume.partition ? [linux, ...initrd] : []) {
      const firmware = loader === 'grub' ? undefined : 'efi';
      const say = (name: string, message: string): void => {
        findings.push({ name, severity: 'fatal', firmware, stage: 'loader', message });
      };
      if (path === '' || seen.has(path)) continue;
      seen.add(path);
      const file = volume.files.get(
        path
          .replace(/^[/\\]+/, '')
          .replaceAll('\\', '/')
          .toLowerCase(),
      );
      if (file === undefined) {
        // GRUB may read it from another partition.
        if (loader === 'systemd-boot')
          say('entry-file-missing', `${entry} names ${path}, which is not on partition ${volume.partition}`);
      } else if (path === linux) {
        const kernel = await volume.read(file, Number.POSITIVE_INFINITY);
        const expected = kernelBytes(kernel);
        if (expected === undefined && (loader === 'grub' || peMachine(kernel) === undefined))
          say('kernel-damaged', `${file}, which ${entry} starts, is no kernel`);
        else if (expected !== undefined && kernel.length < expected)
          say(
            'kernel-cut',
            `${file} has ${kernel.length} bytes, and its header says ${expected}: the kernel is cut off`,
          );
      }
    }
  return findings;
}

/** How long a bzImage says that it is; undefined for what is none.
 *  @see the kernel's Documentation/arch/x86/boot.rst, "setup_sects" and "syssize" */
function kernelBytes(kernel: Buffer): number | undefined {
  if (kernel.length < 0x210 || kernel.toString('latin1', 0x202, 0x206) !== 'HdrS') return undefined;
  return ((kernel[0x1f1] || 4) + 1) * 512 + kernel.readUInt32LE(0x1f4) * 16;
}

interface Volume {
  readonly partition: number;
  /** By the name in lower case, for FAT's names are the same in both. */
  readonly files: ReadonlyMap<string, string>;
  read(name: string, bytes: number): Promise<Buffer>;
}

async function readVolume(step: StepRunner, image: ImageReader, part: FoundPartition): Promise<Volume | undefined> {
  const location = mtoolsImage(await image.asRaw(part.offsetBytes, part.sizeBytes));
  const env = mtoolsEnvironment(undefined);
  const listed = await step.tryRun(['mdir', '-b', '-/', '-a', '-i', location, '::/'], { env });
  // It fails on an empty one, too, and says another thing.
  if (listed.exitCode !== 0 && !/File ".*" not found|^$/.test(listed.stderr.toString('utf8').trim())) return undefined;
  const names = listed.stdout
    .toString('utf8')
    .split('\n')
    .filter((line) => line.startsWith('::/') && !line.endsWith('/'))
    .map((line) => line.slice(3));
  return {
    partition: part.number,
    files: new Map(names.map((name) => [name.toLowerCase(), name])),
    async read(name, bytes) {
      const { stdout } = await step.tryRun(['mtype', '-i', location, `::/${name}`], { env });
      return stdout.subarray(0, bytes);
    },
  };
}

/** The architecture of an EFI program; undefined for what is none. */
function peMachine(head: Buffer): string | undefined {
  if (head.length < 64 || head.toString('latin1', 0, 2) !== 'MZ') return undefined;
  const at = head.readUInt32LE(0x3c);
  if (at + 6 > head.length || head.readUInt32LE(at) !== 0x4550) return undefined;
  return PE_MACHINES[head.readUInt16LE(at + 4)] ?? 'unknown';
}

function parseEntry(file: string, partition: number, content: string): LoaderEntry {
  const values = (key: string): string[] =>
    [...content.matchAll(new RegExp(`^${key}[ \\t]+(.*)$`, 'gm'))].map(([, value = '']) => value.trim());
  const [title = '', version = '', linux = ''] = ['title', 'version', 'linux'].map((key) => values(key)[0]);
  return {
    loader: 'systemd-boot',
    file,
    partition,
    title,
    version,
    linux,
    initrd: values('initrd'),
    options: values('options').join(' '),
  };
}

/** The entries of a grub.cfg as grub-mkconfig and NixOS write it: no script is run. */
function parseGrubConfig(file: string, partition: number, content: string): LoaderEntry[] {
  const entries: LoaderEntry[] = [];
  let title = '';
  let last: LoaderEntry | undefined;
  const place = (text: string): string => text.replace(/^\([^)]*\)/, '').replace(/^\/\//, '/');
  for (const line of content.split('\n')) {
    const [, entry] = /^\s*menuentry\s+["']([^"']*)/.exec(line) ?? [];
    if (entry !== undefined) title = entry;
    const [, kernel, options = ''] = /^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$/.exec(line) ?? [];
    if (kernel !== undefined) {
      last = { loader: 'grub', file, partition, title, version: '', linux: place(kernel), initrd: [], options };
      entries.push(last);
    }
    const [, initrd] = /^\s*initrd(?:16|efi)?\s+(.*)$/.exec(line) ?? [];
    if (initrd !== undefined && last !== undefined)
      entries[entries.length - 1] = { ...last, initrd: initrd.split(/\s+/).map(place) };
  }
  return entries;
}
