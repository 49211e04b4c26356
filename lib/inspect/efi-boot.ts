import { mtoolsEnvironment, mtoolsImage } from '../filesystem/fat.ts';
import type { StepRunner } from '../step.ts';
import type { Finding } from './finding.ts';
import type { ImageReader } from './image-reader.ts';
import type { FoundPartition, FoundTable } from './partition-tables.ts';

/** A menu entry of systemd-boot. @see The Boot Loader Specification, type 1 */
export interface LoaderEntry {
  /** From the partition's root: `loader/entries/nixos-generation-1.conf`. */
  readonly file: string;
  readonly partition: number;
  readonly title: string;
  readonly version: string;
  readonly linux: string;
  readonly initrd: readonly string[];
  readonly options: string;
}

/** What EFI firmware finds. */
export interface EfiBoot {
  /** Architectures whose firmware finds a loader at the removable path: x64, aa64 … */
  readonly architectures: readonly string[];
  readonly loaders: readonly string[];
  readonly entries: readonly LoaderEntry[];
  readonly findings: readonly Finding[];
}

/** Machine types of EFI programs. @see PE format, "Machine types" */
const PE_MACHINES: Readonly<Record<number, string>> = { 34404: 'x64', 43620: 'aa64', 332: 'ia32', 20580: 'riscv64' };

/** @param architecture of the firmware that is to boot it: "x64". Runs: mdir, mtype. */
export async function readEfiBoot(
  step: StepRunner,
  image: ImageReader,
  table: FoundTable,
  architecture: string,
): Promise<EfiBoot> {
  const findings: Finding[] = [];
  const say = (name: string, severity: Finding['severity'], stage: Finding['stage'], message: string): void => {
    findings.push({ name, severity, firmware: 'efi', stage, message });
  };
  const nothing = { architectures: [], loaders: [], entries: [], findings };
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
      if (!/^loader\/entries\/[^/]+\.conf$/.test(key)) continue;
      const entry = parseEntry(name, volume.partition, (await volume.read(name, 64 * 1024)).toString('utf8'));
      entries.push(entry);
      for (const path of [entry.linux, ...entry.initrd].filter((at) => at !== '')) {
        const file = volume.files.get(
          path
            .replace(/^[/\\]+/, '')
            .replaceAll('\\', '/')
            .toLowerCase(),
        );
        if (file === undefined)
          say(
            'entry-file-missing',
            'fatal',
            'loader',
            `${name} names ${path}, which is not on partition ${volume.partition}`,
          );
        else if (path === entry.linux && peMachine(await volume.read(file, 1024)) === undefined)
          say('kernel-damaged', 'fatal', 'loader', `${file}, which ${name} starts, is no EFI program: no kernel`);
      }
    }
  const systemdBoot = loaders.some((name) => /systemd-boot/i.test(name));
  const unified = loaders.some((name) => /^EFI\/Linux\//i.test(name));
  if (systemdBoot && entries.length === 0 && !unified)
    say('no-entries', 'fatal', 'loader', 'systemd-boot is there, and no entry in loader/entries for it to start');
  return { architectures: [...new Set(architectures)], loaders, entries, findings };
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
  return { file, partition, title, version, linux, initrd: values('initrd'), options: values('options').join(' ') };
}
