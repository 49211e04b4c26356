import { quote } from '../machine/guest-shell.ts';
import type { Machine } from '../machine/machine.ts';
import type { FailureSeen } from '../verdict/failures.ts';
import { type Cause, insideCause, type RootDevices, rootCause } from '../verdict/verdict.ts';

/** The script that finds out where the shell runs: what is mounted, what runs as process 1, which block devices exist. It uses
 *  shell built-ins, and cat, readlink, stat and df where they exist. */
const QUESTION = String.raw`
exec 2> /dev/null
say() { printf '\n[%s]\n' "$1"; }
say mounts; cat /proc/self/mountinfo
say kernel; cat /proc/cmdline
say init; readlink /proc/1/exe; say initType; stat -L -f -c %T /proc/1/exe
say processes; readlink /proc/self/ns/pid
say here; stat -L -c %d:%i /; say there; stat -L -c %d:%i /proc/1/root/
say release; [ -e /etc/initrd-release ] && echo initrd
say fstab; cat /etc/fstab
say space; df -P -k /
say blocks
for b in /sys/class/block/*; do
  read -r number < $b/dev; name=; backing=
  [ -r $b/dm/name ] && read -r name < $b/dm/name
  [ -r $b/loop/backing_file ] && read -r backing < $b/loop/backing_file
  printf '%s\t%s\t%s\t%s\t' "\${b##*/}" "$number" "$name" "$backing"; echo $b/slaves/*
done
say source
while read -r a a a a point a; do [ "$point" = / ] && line=$a; done < /proc/self/mountinfo
source=\${line##* - }; source=\${source#* }; source=\${source%% *}; readlink -f "$source"
`.replaceAll('\\$', '$');

/** A line of /proc/self/mountinfo. @see proc_pid_mountinfo(5) */
interface Mount {
  readonly device: string;
  readonly point: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
}

interface Block {
  readonly name: string;
  readonly number: string;
  readonly mapperName: string;
  readonly backingFile: string;
  readonly slaves: readonly string[];
}

/** Where the shell runs. */
export interface Inside {
  readonly cause: Cause | undefined;
  readonly warnings: readonly string[];
  /** The devices of the root filesystem. */
  readonly root: RootDevices;
}

const FIRST_NAMESPACE = ['pid:[4026531836]'];

/** The least that the kernel reads from the disk to start a program. */
const PROGRAM_BYTES = 8 * 1024;

/** More than an initrd reads from the disk. */
const ROOT_BYTES = 512 * 1024;

/** Filesystems that are always read-only. */
const READ_ONLY_TYPES = new Set(['squashfs', 'erofs', 'iso9660', 'cramfs', 'romfs', 'udf']);
const IN_MEMORY = new Set(['rootfs', 'ramfs', 'tmpfs']);
const OVER_NETWORK = /^(?:nfs4?|cifs|smb3|9p|virtiofs|ceph|fuse\.sshfs)$/;

/** Checks that the login shell runs in the image's own system, on this machine's disk, and not in the initrd. */
export async function lookInside(machine: Machine, isDirect: boolean): Promise<Inside> {
  const { output } = await machine.execute(QUESTION);
  const sections = parseSections(output);
  const mounts = parseMounts(sections.get('mounts') ?? '');
  const blocks = parseBlocks(sections.get('blocks') ?? '');
  const disk = new Disk(mounts, blocks);
  const readBytes = await machine.readSinceKernel();
  const root = mounts.findLast(({ point }) => point === '/');
  const fail = (how: 'in-initrd' | 'foreign-root' | 'foreign-init', found: string): Inside => ({
    cause: { ...insideCause(how, found, machine.failures), stage: 'stage 1' },
    warnings: [],
    root: { devices: [] },
  });
  if (root === undefined) return fail('in-initrd', '/proc/self/mountinfo lists no root filesystem');
  const source = sections.get('source') || root.source;
  const devices = disk.under(root, source);
  const first = (section: string): string => (sections.get(section) ?? '').split('\n')[0]?.trim() ?? '';
  if (!isDirect) {
    const how = `/ is a ${root.type} (${root.source})`;
    if (root.type === 'rootfs' || root.type === 'ramfs' || first('release') === 'initrd') return fail('in-initrd', how);
    // The number of the first namespace is fixed. @see include/linux/proc_ns.h, PROC_PID_INIT_INO
    if (![...FIRST_NAMESPACE, ''].includes(first('processes')))
      return fail('foreign-init', 'the shell runs in its own PID namespace and does not see process 1');
    const [here, there] = [first('here'), first('there')];
    if (here !== '' && there !== '' && here !== there)
      return fail('foreign-init', `process 1 (${first('init')}) has a different root directory from the shell's`);
    const initType = first('initType');
    if (IN_MEMORY.has(initType) && root.type !== 'tmpfs')
      return fail('foreign-init', `process 1 (${first('init')}) was started from a ${initType}`);
    if (OVER_NETWORK.test(root.type)) return fail('foreign-root', how);
    // With a root in memory, the system must be on the disk. An overlay or a loop device may hide the disk.
    const onDisk = root.type === 'tmpfs' ? disk.hasSystem && !IN_MEMORY.has(initType) : disk.holds(root, source);
    if (!(onDisk ?? (disk.hasDisk && (await readsFromDisk(machine, readBytes)))))
      return fail(root.type === 'tmpfs' ? 'in-initrd' : 'foreign-root', how);
  }
  return { ...judgeRoot(root, sections, machine.failures), root: { devices } };
}

/** Returns whether the system under an overlay is on the disk: whether process 1's program is read from it again after the cache
 *  was dropped. If the user may not drop the cache, returns whether as much was read as a system needs. */
async function readsFromDisk(machine: Machine, readBytes: number | undefined): Promise<boolean> {
  const forget = 'sync; echo 3 > /proc/sys/vm/drop_caches && cat /proc/1/exe > /dev/null';
  const { exitCode } = await machine.execute(`(${forget}) 2> /dev/null`);
  const now = await machine.readSinceKernel();
  if (exitCode !== 0) return now === undefined || now >= ROOT_BYTES;
  return now === undefined || readBytes === undefined || now - readBytes >= PROGRAM_BYTES;
}

/** Finds failures that look like kernel messages but are not in the kernel log, because a program printed them. Finds none if the
 *  log cannot be read or has lost its beginning. @see dmesg(1) */
export async function notOfKernel(machine: Machine, seen: readonly FailureSeen[]): Promise<ReadonlySet<FailureSeen>> {
  const suspects = seen.filter(({ pattern, on }) => pattern.by === 'kernel' && on === 'console');
  if (suspects.length === 0) return new Set();
  const { output } = await machine.execute(
    `LC_ALL=C dmesg 2> /dev/null | { grep -m 1 -q 'Linux version' && echo whole; }`,
  );
  if (output.trim() !== 'whole') return new Set();
  const found = new Set<FailureSeen>();
  for (const one of suspects) {
    const text = quote(one.line.slice(0, LONGEST_SEARCHED));
    const { exitCode } = await machine.execute(`LC_ALL=C dmesg 2> /dev/null | grep -q -F -- ${text}`);
    if (exitCode === 1) found.add(one);
  }
  return found;
}

/** Only the beginning of a line is searched for, because a log may wrap or truncate long lines. */
const LONGEST_SEARCHED = 80;

/** Checks that the root filesystem is writable, if it should be, and has free space. */
function judgeRoot(
  root: Mount,
  sections: ReadonlyMap<string, string>,
  failures: readonly FailureSeen[],
): Pick<Inside, 'cause' | 'warnings'> {
  const isReadOnly = root.options.includes('ro');
  if (isReadOnly && !READ_ONLY_TYPES.has(root.type) && wantsWriting(sections.get('fstab') ?? ''))
    return {
      cause: rootCause(
        'read-only-root',
        `${root.source} (${root.type}) is mounted read-only although /etc/fstab does not ask for it`,
        failures,
      ),
      warnings: [],
    };
  const available = Number((sections.get('space') ?? '').trim().split('\n').at(-1)?.trim().split(/\s+/).at(-3));
  if (!isReadOnly && !READ_ONLY_TYPES.has(root.type) && available === 0) {
    const found = `df shows no free space on / (${root.source})`;
    if (failures.some(({ pattern }) => pattern.name === 'no-space'))
      return { cause: rootCause('root-full', found, failures), warnings: [] };
    return { cause: undefined, warnings: [found] };
  }
  return { cause: undefined, warnings: [] };
}

/** Returns whether /etc/fstab mounts the root filesystem read-write. Without a line for it, it is not remounted. */
function wantsWriting(fstab: string): boolean {
  for (const line of fstab.split('\n')) {
    const [device = '', point, , options = 'defaults'] = line.trim().split(/\s+/);
    if (device.startsWith('#') || point !== '/') continue;
    return !options.split(',').includes('ro');
  }
  return false;
}

/** The mounts that are on this machine's disk. */
class Disk {
  readonly #mounts: readonly Mount[];
  readonly #blocks: ReadonlyMap<string, Block>;

  constructor(mounts: readonly Mount[], blocks: readonly Block[]) {
    this.#mounts = mounts;
    this.#blocks = new Map(blocks.map((block) => [block.name, block]));
  }

  /** Whether the system's programs are mounted from the disk. */
  get hasSystem(): boolean {
    return this.#mounts.some(
      (mount) =>
        /^\/(?:nix(?:\/store)?|usr|gnu(?:\/store)?)$/.test(mount.point) && this.holds(mount, mount.source) === true,
    );
  }

  /** Returns whether a mount is on the disk, directly or through an overlay, a loop device or a device mapper; undefined if an
   *  overlay hides its lower layers. */
  holds(mount: Mount, source: string): boolean | undefined {
    if (mount.type !== 'overlay') return this.under(mount, source).length > 0;
    const lower = mount.options
      .filter((option) => /^lowerdir\+?=/.test(option))
      .flatMap((option) => option.slice(option.indexOf('=') + 1).split(':'))
      .map((path) => path.replace(/^\/+/, '/'));
    const seen = lower
      .map((path) => this.#holderOf(path, mount))
      .filter((holder) => holder !== undefined)
      .map((holder) => this.holds(holder, holder.source));
    return seen.length === 0 ? undefined : seen.some((one) => one === true);
  }

  /** Finds the mount that contains a path. `/` does not count, because it hides what was mounted there before. */
  #holderOf(path: string, self: Mount): Mount | undefined {
    return this.#mounts
      .filter((mount) => mount !== self && mount.point !== '/' && `${path}/`.startsWith(`${mount.point}/`))
      .sort((a, b) => a.point.length - b.point.length)
      .at(-1);
  }

  get hasDisk(): boolean {
    return [...this.#blocks.keys()].some(isPhysical);
  }

  /** Finds the block devices under a mount, down to the disk; none if the mount is not on a disk. */
  under(mount: Mount, source: string): string[] {
    if (mount.type === 'zfs') return this.hasDisk ? [...this.#blocks.keys()].filter(isPhysical) : [];
    const named = [...this.#blocks.values()].find(
      ({ name, number, mapperName }) =>
        number === mount.device ||
        source === `/dev/${name}` ||
        (mapperName !== '' && source === `/dev/mapper/${mapperName}`),
    );
    // A bcachefs or btrfs with several devices lists them all.
    const several = source.split(':').flatMap((one) => this.#blocks.get(one.replace(/^\/dev\//, '')) ?? []);
    const found = named === undefined ? several : [named];
    const devices = found.flatMap((block) => this.#down(block, new Set()));
    return devices.some(isPhysical) ? devices : [];
  }

  #down(block: Block, seen: Set<string>): string[] {
    if (seen.has(block.name)) return [];
    seen.add(block.name);
    const below = block.slaves.flatMap((name) => {
      const slave = this.#blocks.get(name);
      return slave === undefined ? [] : this.#down(slave, seen);
    });
    if (block.backingFile !== '') {
      const holder = this.#mounts
        .filter(
          ({ point, device }) => point !== '/' && device !== block.number && block.backingFile.startsWith(`${point}/`),
        )
        .sort((a, b) => a.point.length - b.point.length)
        .at(-1);
      const on = [...this.#blocks.values()].find(({ number }) => number === holder?.device);
      if (on !== undefined) below.push(...this.#down(on, seen));
    }
    return [block.name, ...below];
  }
}

/** Returns whether a device is a disk or a partition, not in memory, on other devices, or a drive for removable media. */
function isPhysical(name: string): boolean {
  return !/^(?:loop|ram|zram|sr|fd|dm-|md|nbd|mtdblock)/.test(name);
}

function parseSections(output: string): Map<string, string> {
  const sections = new Map<string, string>();
  let name = '';
  for (const line of output.split('\n')) {
    const begins = /^\[(\w+)\]$/.exec(line)?.[1];
    if (begins !== undefined) {
      name = begins;
      sections.set(name, '');
    } else if (name !== '') sections.set(name, `${sections.get(name)}${line}\n`);
  }
  for (const [key, text] of sections) sections.set(key, text.replace(/^\n+|\n+$/g, ''));
  return sections;
}

function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [own = '', filesystem = ''] = line.split(' - ');
    const [, , device, , point, options] = own.split(' ');
    const [type, source, superOptions = ''] = filesystem.split(' ');
    if (device === undefined || point === undefined || type === undefined || source === undefined) return [];
    // Read-only if the mount or the filesystem is.
    const both = [...(options ?? '').split(','), ...superOptions.split(',')];
    const mode = both.includes('ro') ? 'ro' : 'rw';
    const others = both.filter((option) => option !== 'ro' && option !== 'rw');
    return [{ device, point: unescapeMount(point), type, source: unescapeMount(source), options: [mode, ...others] }];
  });
}

/** Decodes the octal escapes for space, tab, newline and backslash. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function parseBlocks(text: string): Block[] {
  return text.split('\n').flatMap((line) => {
    const [name, number, mapperName = '', backingFile = '', slaves = ''] = line.split('\t');
    if (name === undefined || number === undefined) return [];
    const names = slaves.split(' ').map((path) => path.split('/').at(-1) ?? '');
    return [{ name, number, mapperName, backingFile, slaves: names.filter((one) => one !== '*' && one !== '') }];
  });
}
