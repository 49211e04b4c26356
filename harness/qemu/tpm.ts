import { mkdir, readFile, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { requireDirectory } from '../../lib/host-files/given-paths.ts';
import { isErrno } from '../../lib/run/errno.ts';
import { InvalidOptionsError } from '../../lib/run/errors.ts';
import { type KernelLock, tryLock } from '../../lib/run/kernel-lock.ts';
import { localExecutor } from '../../lib/run/local-executor.ts';
import { packageHint } from '../../lib/run/tools.ts';
import { HarnessError } from '../errors.ts';
import { escapeOptionValue, type MachineType } from './argv.ts';

/** An emulated TPM 2.0 for one machine. */
export interface Tpm {
  readonly args: readonly string[];
  /** Ends it if QEMU has not: it ends by itself with QEMU. */
  stop(): Promise<void>;
}

/** Starts a TPM 2.0.
 *  @param directory of the machine. @param stateDirectory what the TPM remembers: its seeds, keys and counters; default: in the machine's
 *  directory, so that each machine has a new TPM.
 *  @throws {InvalidOptionsError} when the state cannot be used, for instance because another machine uses it.
 *  @see swtpm(8); QEMU docs/specs/tpm.rst. Runs: swtpm. */
export async function startTpm(
  step: string,
  directory: string,
  stateDirectory: string | undefined,
  type: MachineType,
): Promise<Tpm> {
  const state = join(directory, 'tpm');
  let lock: KernelLock | undefined;
  if (stateDirectory === undefined) await mkdir(state, { mode: 0o700 });
  else {
    await mkdir(stateDirectory, { mode: 0o700 }).catch((error: unknown) => {
      if (!isErrno(error, 'EEXIST'))
        throw refusal(step, `${stateDirectory} cannot be created: ${error instanceof Error ? error.message : error}`);
    });
    await requireDirectory(step, stateDirectory, 'tpm.stateDirectory');
    // swtpm itself would notice it only when QEMU has started.
    lock = await tryLock(join(stateDirectory, 'machine.lock'));
    if (lock === undefined) throw refusal(step, `${stateDirectory} is used by another machine`);
    // swtpm reads a comma in a name as the start of another option.
    await symlink(resolve(stateDirectory), state);
  }
  const [socket, pidFile] = [join(directory, 'tpm.sock'), join(directory, 'tpm.pid')];
  // It ends when QEMU closes the socket. Its own files are named absolutely, because it changes to the root directory.
  const { exitCode, stderr, stdout } = await localExecutor
    .run([
      ...['swtpm', 'socket', '--tpm2', '--tpmstate', `dir=${state}`, '--ctrl', `type=unixio,path=${socket},mode=0600`],
      ...['--terminate', '--daemon', '--pid', `file=${pidFile}`],
    ])
    .catch((cause: unknown) => {
      lock?.[Symbol.dispose]();
      throw new HarnessError(`${step}: the TPM could not be started`, { cause, hint: packageHint('swtpm') });
    });
  if (exitCode !== 0) {
    lock?.[Symbol.dispose]();
    const said = `${stderr.toString('utf8')}${stdout.toString('utf8')}`.trim();
    if (stateDirectory !== undefined) throw refusal(step, `${stateDirectory} cannot be used by swtpm: ${said}`);
    throw new HarnessError(`${step}: swtpm failed: ${said}`);
  }
  return {
    args: [
      ...['-chardev', `socket,id=tpm,path=${escapeOptionValue(socket)}`, '-tpmdev', 'emulator,id=tpm0,chardev=tpm'],
      ...['-device', `${type === 'virt' ? 'tpm-tis-device' : 'tpm-crb'},tpmdev=tpm0`],
    ],
    async stop() {
      const pid = Number(await readFile(pidFile, 'utf8').catch(() => ''));
      const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
      if (pid > 0 && command.startsWith('swtpm') && command.includes(pidFile)) process.kill(pid, 'SIGTERM');
      lock?.[Symbol.dispose]();
    },
  };
}

function refusal(step: string, message: string): InvalidOptionsError {
  return new InvalidOptionsError(step, [{ path: 'tpm.stateDirectory', message }]);
}
