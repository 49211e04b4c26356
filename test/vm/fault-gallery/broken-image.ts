import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { mtoolsEnvironment, writeFatTree } from '../../../lib/filesystem/fat.ts';
import { localExecutor } from '../../../lib/run/local-executor.ts';
import { runStep } from '../../../lib/run/step.ts';
import type { DiskPartition, PartitionedDisk } from '../../../lib/steps/partition-disk.ts';
import { MIB } from '../../../lib/units.ts';
import { run } from '../../helpers/run.ts';

interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** A copy of a good image, with methods that break it. */
export class BrokenImage {
  readonly file: string;
  readonly disk: PartitionedDisk;
  readonly #directory: string;
  readonly #toplevel: string;

  constructor(file: string, disk: PartitionedDisk, toplevel: string) {
    this.file = file;
    this.disk = disk;
    this.#directory = dirname(file);
    this.#toplevel = toplevel;
  }

  async overwrite(offsetBytes: number, bytes: Buffer): Promise<void> {
    await using handle = await open(this.file, 'r+');
    await handle.write(bytes, 0, bytes.length, offsetBytes);
  }

  async read(offsetBytes: number, bytes: number): Promise<Buffer> {
    await using handle = await open(this.file, 'r');
    return (await handle.read(Buffer.alloc(bytes), 0, bytes, offsetBytes)).buffer;
  }

  /** The location of GRUB's core image, from its boot sector. */
  async core(): Promise<{ readonly offsetBytes: number; readonly sizeBytes: number }> {
    const sector = Number((await this.read(0x5c, 8)).readBigUInt64LE());
    const list = await this.read(sector * 512 + 0x1f4, 12);
    return { offsetBytes: sector * 512, sizeBytes: (list.readUInt16LE(8) + 1) * 512 };
  }

  async cutTo(share: number): Promise<void> {
    const { size } = await (await open(this.file, 'r')).stat();
    await truncate(this.file, Math.floor((size * share) / 512) * 512);
  }

  async sfdisk(...args: string[]): Promise<void> {
    await run([
      'sfdisk',
      '--no-reread',
      '--no-tell-kernel',
      '--quiet',
      ...args.map((arg) => arg.replace('IMG', this.file)),
    ]);
  }

  /** Rewrites the partition table from its dump, as changed by `change`. @see sfdisk(8), "--dump" */
  async changeTable(change: (dump: string) => string): Promise<void> {
    const dump = await run(['sfdisk', '--dump', this.file]);
    // The last usable sector depends on the current end of the disk.
    const input = change(dump.replace(/^last-lba:.*\n/m, ''));
    await run(['sfdisk', '--no-reread', '--no-tell-kernel', '--quiet', this.file], { input });
  }

  get esp(): DiskPartition {
    const { esp } = this.disk;
    if (esp === undefined) throw new Error('this image has no ESP');
    return esp;
  }

  async espFiles(): Promise<string[]> {
    const listed = await this.#mtools('mdir', '-a', '-b', '-/', '::/');
    return listed.split('\n').filter((line) => line.startsWith('::/') && !line.endsWith('/'));
  }

  async espFile(pattern: RegExp): Promise<string> {
    const found = (await this.espFiles()).find((name) => pattern.test(name));
    if (found === undefined) throw new Error(`the ESP has no ${pattern}: ${await this.espFiles()}`);
    return found;
  }

  async removeFromEsp(pattern: RegExp): Promise<void> {
    await this.#mtools('mdel', await this.espFile(pattern));
  }

  async readFromEsp(name: RegExp | string): Promise<Buffer> {
    const local = join(this.#directory, 'esp-file');
    await this.#mtools('mcopy', '-n', '-o', typeof name === 'string' ? `::${name}` : await this.espFile(name), local);
    return readFile(local);
  }

  /** Adds a file to the ESP, and its parent directories. */
  addToEsp(path: string, content: Buffer | string): Promise<void> {
    return this.addToFat(this.esp, path, content);
  }

  async addToFat({ offsetBytes }: Extent, path: string, content: Buffer | string): Promise<void> {
    const tree = { directories: [], files: [{ path, content: { text: content } }] };
    await runStep('fault gallery', undefined, path, (step) =>
      writeFatTree(step, { image: this.file, offsetBytes }, tree, undefined),
    );
  }

  /** Reformats the ESP. */
  makeBootFilesystem(): Promise<void> {
    return this.formatFat(this.esp);
  }

  async formatFat({ offsetBytes, sizeBytes }: Extent): Promise<void> {
    await this.overwrite(offsetBytes, Buffer.alloc(4 * MIB));
    const sectors = `${offsetBytes / 512}`;
    await run([
      ...['mkfs.vfat', '-F', '16', '-n', 'ESP', '-h', sectors, '--offset', sectors],
      ...[this.file, `${sizeBytes / 1024}`],
    ]);
  }

  /** Adds a partition at the end of the disk, which grows by its size. */
  async addPartition(type: string, sizeBytes: number): Promise<Extent> {
    const { size } = await stat(this.file);
    await truncate(this.file, size + sizeBytes + MIB);
    const offsetBytes = Math.ceil(size / MIB) * MIB;
    await this.changeTable((dump) => `${dump}start=${offsetBytes / 512}, size=${sizeBytes / 512}, type=${type}\n`);
    return { offsetBytes, sizeBytes };
  }

  /** Changes a file on the ESP with `change`. */
  async changeOnEsp(pattern: RegExp, change: (content: Buffer) => Buffer | string): Promise<void> {
    const name = await this.espFile(pattern);
    const local = join(this.#directory, 'esp-file');
    await this.#mtools('mcopy', '-n', '-o', name, local);
    await writeFile(local, change(await readFile(local)));
    await this.#mtools('mcopy', '-o', local, name);
  }

  /** Resolves a link in the system, because debugfs does not follow links. */
  async linkOfSystem(path: string): Promise<string> {
    const target = /Fast link dest: "(.*)"/.exec(await this.debugfs(`stat ${this.system(path)}`))?.[1];
    if (target === undefined) throw new Error(`${path} is not a link`);
    return target;
  }

  /** Returns a path of the system in the root filesystem. */
  system(path: string): string {
    return `${this.#toplevel}/${path}`;
  }

  async debugfs(...commands: string[]): Promise<string> {
    const at = `./${basename(this.file)}${this.#offset()}`;
    const input = `${commands.join('\n')}\n`;
    const { stdout, stderr } = await localExecutor.run(['debugfs', '-w', '-f', '-', at], {
      cwd: this.#directory,
      input,
    });
    // debugfs always exits with status 0; its first line is its version.
    const said = stderr.toString('utf8').trim().split('\n').slice(1);
    if (said.length > 0) throw new Error(said.join('\n'));
    return stdout.toString('utf8');
  }

  /** Replaces a file in the root filesystem. */
  async writeOnRoot(path: string, content: string | Buffer, mode = '0100555'): Promise<void> {
    const local = join(this.#directory, 'root-file');
    await writeFile(local, content);
    await this.debugfs(`rm ${path}`, `write root-file ${path}`, `sif ${path} mode ${mode}`);
  }

  /** Adds a file to an existing directory in the root filesystem. */
  async addToRoot(path: string, content: string | Buffer, mode = '0100644'): Promise<void> {
    await writeFile(join(this.#directory, 'root-file'), content);
    await this.debugfs(`write root-file ${path}`, `sif ${path} mode ${mode}`);
  }

  /** Changes a script of the system with `change`, which must return different text. */
  async changeSystem(path: string, change: (script: string) => string): Promise<void> {
    const script = (await this.readFromRoot(this.system(path))).toString('utf8');
    const changed = change(script);
    if (changed === script) throw new Error(`${path} is not what the fault takes it for`);
    await this.writeOnRoot(this.system(path), changed);
  }

  async readFromRoot(path: string): Promise<Buffer> {
    await this.debugfs(`dump ${path} root-file`);
    return readFile(join(this.#directory, 'root-file'));
  }

  async tune(...args: string[]): Promise<void> {
    await run(['tune2fs', ...args, `./${basename(this.file)}${this.#offset()}`], { cwd: this.#directory });
  }

  #offset(): string {
    return this.disk.root.offsetBytes === 0 ? '' : `?offset=${this.disk.root.offsetBytes}`;
  }

  async #mtools(tool: string, ...args: string[]): Promise<string> {
    const at = `${this.file}@@${this.esp.offsetBytes}`;
    return run([tool, '-i', at, ...args], { env: mtoolsEnvironment(undefined) });
  }
}
