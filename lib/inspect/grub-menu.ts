import type { BootFile, BootVolume } from './boot-volume.ts';
import type { Budget } from './budget.ts';
import type { LoaderEntry } from './loader-entry.ts';

/** The menu of a grub.cfg, as far as it can be determined without running its script. */
export interface GrubMenu {
  readonly file: string;
  readonly partition: number;
  readonly entries: readonly LoaderEntry[];
  /** Whether it waits until a user chooses. */
  readonly waitsForEver: boolean;
}

interface Item {
  readonly title: string;
  readonly id: string;
  /** Positions in the menu and its submenus: "1>2" is [1, 2]. */
  readonly place: readonly number[];
  readonly titles: readonly string[];
}

const MOST_ENTRIES = 256;
const DEEPEST = 8;

/** Reads every grub.cfg on a boot partition, in the order of its directories. */
export async function readGrubMenus(budget: Budget, volume: BootVolume): Promise<GrubMenu[]> {
  const menus: GrubMenu[] = [];
  for (const key of volume.files.keys()) {
    const file = /(^|\/)grub\.cfg$/.test(key) ? volume.file(key) : undefined;
    if (file === undefined) continue;
    if (menus.length >= 16) {
      budget.leaveOut(`files named grub.cfg on partition ${volume.partition} beyond the first 16`);
      break;
    }
    menus.push(parseGrubMenu(file.path, volume.partition, await file.text()));
  }
  return menus;
}

/** Parses a grub.cfg as grub-mkconfig and NixOS write it, without running its script. For `default` and `timeout`, it
 *  uses the last literal value, because earlier ones are for an entry that was chosen for one boot. */
export function parseGrubMenu(file: string, partition: number, content: string): GrubMenu {
  const found: { readonly item: Item; entry: LoaderEntry }[] = [];
  const counts = [0];
  const titles: string[] = [];
  let item: Item | undefined;
  const blocks: ('submenu' | 'menuentry' | 'other')[] = [];
  let chosen = '0';
  let timeout = '';
  for (const line of content.split('\n')) {
    const [, kind, , title = '', rest = ''] = /^\s*(menuentry|submenu)\s+(["'])(.*?)\2(.*)$/.exec(line) ?? [];
    if (kind === 'menuentry' || kind === 'submenu') {
      const place = counts.slice(0, -1).map((count) => count - 1);
      const own = counts.at(-1) ?? 0;
      counts[counts.length - 1] = own + 1;
      const [, id = ''] = /--id[= ]["']?([^\s"'{]+)/.exec(rest) ?? [];
      if (kind === 'menuentry') item = { title, id, place: [...place, own], titles: [...titles, title] };
      else if (counts.length < DEEPEST) {
        counts.push(0);
        titles.push(title);
      }
      blocks.push(kind);
      continue;
    }
    if (/\{\s*$/.test(line)) blocks.push('other');
    else if (/^\s*\}/.test(line) && blocks.pop() === 'submenu' && counts.length > 1) {
      counts.pop();
      titles.pop();
    }
    const [, name, value = ''] = /^\s*set\s+(default|timeout)=["']?([^"'\n]*?)["']?\s*$/.exec(line) ?? [];
    if (name === 'default' && value !== '' && !value.includes('$')) chosen = value;
    if (name === 'timeout' && value !== '' && !value.includes('$') && !blocks.includes('menuentry')) timeout = value;
    const [, linux, options = ''] = /^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$/.exec(line) ?? [];
    if (linux !== undefined && item !== undefined && found.length < MOST_ENTRIES) {
      const entry: LoaderEntry = {
        ...{ loader: 'grub', file, partition, title: item.title, version: '', linux: place(linux), initrd: [] },
        ...{ options, isDefault: false },
      };
      found.push({ item, entry });
    }
    const [, initrd] = /^\s*initrd(?:16|efi)?\s+(.*)$/.exec(line) ?? [];
    const last = found.at(-1);
    if (initrd !== undefined && last !== undefined)
      last.entry = { ...last.entry, initrd: initrd.trim().split(/\s+/).map(place) };
  }
  const isChosen = choice(
    chosen,
    found.map((at) => at.item),
  );
  return {
    ...{ file, partition },
    entries: found.map((at) => ({ ...at.entry, isDefault: at.item === isChosen })),
    waitsForEver: timeout === '-1',
  };
}

/** Removes the device, and the extra slash that NixOS writes, from the path of a kernel. */
function place(text: string): string {
  return text.replace(/^\([^)]*\)/, '').replace(/^\/\//, '/');
}

/** Finds the entry for a value of `default`: a number, a title or an identifier, with ">" between a submenu and an
 *  entry in it. A submenu stands for its first entry, and a value that matches nothing for the first entry of all. @see
 *  GRUB manual, "default" */
function choice(wanted: string, items: readonly Item[]): Item | undefined {
  const path = wanted.split('>').map((word) => word.trim());
  const fits = (item: Item): boolean =>
    path.every(
      (word, depth) =>
        `${item.place[depth]}` === word ||
        item.titles[depth] === word ||
        (depth === item.place.length - 1 && item.id === word),
    );
  return items.find(fits) ?? items.find(({ id }) => id !== '' && id === wanted) ?? items[0];
}

const MODULE_MAGIC = 'mimg';
const OBJECT = { config: 2, prefix: 3 };
const MOST_MODULES = 512;

/** The directory in which a GRUB core image for EFI looks for grub.cfg, as it was set when the image was made:
 *  `(,gpt2)/boot/grub`. Undefined when it is unknown, for example because an embedded configuration sets it. @see
 *  include/grub/kernel.h, the header of modules */
export async function grubPrefix(file: BootFile): Promise<string | undefined> {
  const pe = await file.pe();
  const modules = pe?.sections.get('mods');
  if (pe === undefined || modules === undefined) return undefined;
  const head = await file.read(modules.offset, 24);
  if (head.length < 24 || head.toString('latin1', 0, 4) !== MODULE_MAGIC) return undefined;
  const is64 = ['x64', 'aa64', 'riscv64', 'loongarch64', 'ia64'].includes(pe.architecture);
  let at = modules.offset + (is64 ? Number(head.readBigUInt64LE(8) & 0xffff_ffffn) : head.readUInt32LE(4));
  let prefix: string | undefined;
  for (let index = 0; index < MOST_MODULES && at < modules.offset + modules.bytes; index += 1) {
    const header = await file.read(at, 8);
    if (header.length < 8) break;
    const [type, size] = [header.readUInt32LE(0), header.readUInt32LE(4)];
    if (type === OBJECT.config) return undefined;
    if (type === OBJECT.prefix)
      prefix = (await file.read(at + 8, Math.min(size - 8, 4096))).toString('utf8').replace(/\0.*$/s, '');
    if (size < 8) break;
    at += size;
  }
  return prefix === '' ? undefined : prefix;
}
