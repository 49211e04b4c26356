import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Extent } from '../../lib/formats/extent.ts';
import { LUKS_HEADER_BYTES } from '../../lib/formats/luks.ts';
import { MIB } from '../../lib/units.ts';
import { run } from './run.ts';

/** $1 is the directory of the TPM's state, $2 the partition, $3 the PCRs. The namespaces have their own ports and their own /run. */
const SCRIPT = `
busybox ifconfig lo up
mount -t tmpfs tmpfs /run
mkdir /run/cryptsetup /run/tpm
# A name without a comma, which would separate options of swtpm.
mount --bind "$1" /run/tpm
swtpm socket --tpm2 --tpmstate dir=/run/tpm --server type=tcp,port=2321,bindaddr=127.0.0.1 \
  --ctrl type=tcp,port=2322,bindaddr=127.0.0.1 --flags not-need-init,startup-clear --daemon --pid file=/run/swtpm.pid
systemd-cryptenroll --tpm2-device=swtpm:host=127.0.0.1,port=2321 --tpm2-pcrs="$3" "$2"
kill "$(cat /run/swtpm.pid)"
`;

/** Binds an encrypted partition to a TPM as a machine does it at its first boot, with systemd-cryptenroll.
 *  @param state a new directory for what the TPM remembers. @param pcrs its registers must be as they are at the moment: all zero. */
export async function bindToTpm(
  directory: string,
  image: string,
  partition: Extent,
  { passphrase, state, pcrs }: { readonly passphrase: string; readonly state: string; readonly pcrs: string },
): Promise<void> {
  const file = join(directory, 'partition.img');
  await mkdir(state, { mode: 0o700 });
  const [start, count] = [partition.offsetBytes / 512, partition.sizeBytes / 512];
  await run(['dd', `if=${image}`, `of=${file}`, `skip=${start}`, `count=${count}`, 'conv=sparse', 'status=none']);
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  await run(['unshare', ...asRoot, '--mount', '--net', '--', 'sh', '-euc', SCRIPT, 'bind', state, file, pcrs], {
    env: { PASSWORD: passphrase },
  });
  await run([
    ...['dd', `if=${file}`, `of=${image}`, 'bs=1M', `seek=${partition.offsetBytes / MIB}`],
    ...[`count=${LUKS_HEADER_BYTES / MIB}`, 'conv=notrunc', 'status=none'],
  ]);
}
