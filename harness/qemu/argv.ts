/** QEMU's command line from small pure functions. Block devices are JSON, which has no separators to escape. */

import { type DiskFormat, FORMATS_WITH_BACKING } from '../../lib/formats/image-formats.ts';

export type MachineType = 'q35' | 'microvm' | 'virt';
export type DiskInterface = 'virtio' | 'ahci' | 'nvme';

/** A block device graph. @see BlockdevOptions in the QEMU QMP Reference Manual */
export type Blockdev = Readonly<Record<string, unknown>>;

/** Escapes the separators of QEMU's option lists in a value. @see qemu(1), "-name" and QemuOpts */
export function escapeOptionValue(value: string): string {
  return value.replaceAll(',', ',,');
}

export interface MachineArgsOptions {
  readonly type: MachineType;
  readonly accelerator: 'kvm' | 'tcg';
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly name: string;
  /** System Management Mode, which firmware that enforces Secure Boot needs; only q35 has it. */
  readonly smm?: boolean;
}

/** The machine itself, without default devices, display or network; a reset ends QEMU. */
export function machineArgs({ type, accelerator, memoryMiB, cpus, name, smm = false }: MachineArgsOptions): string[] {
  return [
    ...['-name', `guest=${escapeOptionValue(name)}`],
    ...['-nodefaults', '-no-user-config', '-no-reboot'],
    ...['-machine', `${MACHINES[type]}${smm ? ',smm=on' : ''}`],
    ...['-accel', accelerator],
    ...['-cpu', cpuModel(type, accelerator)],
    ...['-m', `${memoryMiB}`],
    ...['-smp', `${cpus}`],
    ...['-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
  ];
}

const MACHINES: Readonly<Record<MachineType, string>> = {
  q35: 'q35,graphics=off',
  // Under TCG the kernel needs the PIT to calibrate its TSC on a loaded host.
  microvm: 'microvm,pit=on,pic=on,rtc=on,acpi=on,auto-kernel-cmdline=on,isa-serial=on',
  virt: 'virt',
};

/** Under TCG, a user's system gets every CPU feature that QEMU emulates; the builder VM gets only what it needs, which is faster.
 *  Without rdrand the kernel has no entropy when mkfs needs it. */
function cpuModel(type: MachineType, accelerator: 'kvm' | 'tcg'): string {
  if (accelerator === 'kvm') return 'host';
  // Emulating the architected pointer authentication algorithm takes half of the CPU time.
  return { q35: 'max', microvm: 'qemu64,+rdrand', virt: 'max,pauth-impdef=on' }[type];
}

/** The first serial port on QEMU's terminal, which is the pty. QEMU writes the log file. */
export function consoleArgs(logFile: string): string[] {
  return [
    '-chardev',
    // Append mode lets the harness truncate the file.
    `stdio,id=console,signal=off,logfile=${escapeOptionValue(logFile)},logappend=on`,
    '-serial',
    'chardev:console',
  ];
}

/** QMP on a private socket. */
export function qmpArgs(socket: string): string[] {
  return [
    '-chardev',
    `socket,id=qmp,path=${escapeOptionValue(socket)},server=on,wait=off`,
    '-mon',
    'chardev=qmp,mode=control',
  ];
}

/** A block node for an image file. */
export function imageNode(file: string, format: string, options: { readonly readOnly?: boolean } = {}): Blockdev {
  const readOnly = options.readOnly === true ? { 'read-only': true } : {};
  // Zeros that the guest writes and blocks that it discards become holes, so a raw image stays sparse.
  const sparse = options.readOnly === true ? {} : { discard: 'unmap', 'detect-zeroes': 'unmap' };
  return { driver: format, ...readOnly, ...sparse, file: { driver: 'file', filename: file, ...readOnly, ...sparse } };
}

/** A qcow2 overlay over an image that is only read. The graph is spelled out, so that no name is read from the
 *  overlay. Several machines may read the image at once; one that somebody writes to is refused by QEMU's locks. */
export function overlayNode(
  overlay: string,
  image: string,
  format: DiskFormat,
  options: { readonly isKept?: boolean } = {},
): Blockdev {
  return {
    driver: 'qcow2',
    // What is thrown away need not outlive a power cut.
    ...(options.isKept === true ? {} : { cache: { 'no-flush': true } }),
    file: { driver: 'file', filename: overlay },
    backing: {
      driver: format,
      'read-only': true,
      ...(FORMATS_WITH_BACKING.includes(format) ? { backing: null } : {}),
      file: { driver: 'file', filename: image, 'read-only': true },
    },
  };
}

/** The disk that the machine boots from. If the host's disk is full, QEMU stops the machine and sends a QMP event.
 *  @param options.bootFirst makes the firmware boot from this disk regardless of its variables; default true. */
export function diskArgs(
  node: Blockdev,
  diskInterface: DiskInterface,
  type: MachineType = 'q35',
  options: { readonly bootFirst?: boolean; readonly sectorBytes?: number | undefined } = {},
): string[] {
  const first = options.bootFirst === false ? '' : ',bootindex=1';
  const { sectorBytes } = options;
  const sectors =
    sectorBytes === undefined || sectorBytes === 512
      ? ''
      : `,logical_block_size=${sectorBytes},physical_block_size=${sectorBytes}`;
  const device: Readonly<Record<DiskInterface, string>> = {
    virtio:
      type === 'microvm' ? `virtio-blk-device,drive=disk${sectors}` : `virtio-blk-pci,drive=disk${first}${sectors}`,
    ahci: `ide-hd,drive=disk,bus=ide.0${first}${sectors}`,
    nvme: `nvme,drive=disk,serial=nixos-disk-image${first}${sectors}`,
  };
  return ['-blockdev', JSON.stringify({ ...node, 'node-name': 'disk' }), '-device', device[diskInterface]];
}

/** UEFI firmware in two flash files; the variables are the machine's own copy.
 *  @param smm only the firmware may write to the variables. @see OvmfPkg/README in edk2, "SMM support" */
export function uefiFirmwareArgs(
  code: { readonly file: string; readonly format: string },
  variables: { readonly file: string; readonly format: string },
  smm = false,
): string[] {
  const codeNode = { ...imageNode(code.file, code.format, { readOnly: true }), 'node-name': 'firmware-code' };
  const variablesNode = {
    driver: variables.format,
    'node-name': 'firmware-variables',
    file: { driver: 'file', filename: variables.file },
  };
  return [
    ...['-blockdev', JSON.stringify(codeNode)],
    ...['-blockdev', JSON.stringify(variablesNode)],
    ...['-machine', 'pflash0=firmware-code,pflash1=firmware-variables'],
    ...(smm ? ['-global', 'driver=cfi.pflash01,property=secure,value=on', '-global', 'ICH9-LPC.disable_s3=1'] : []),
  ];
}

/** A kernel that QEMU loads directly. */
export function kernelArgs(kernel: string, initrd: string | undefined, commandLine: string): string[] {
  return ['-kernel', kernel, ...(initrd === undefined ? [] : ['-initrd', initrd]), '-append', commandLine];
}

/** A screen to read if the serial console stays silent. The firmware still uses the serial port because of "graphics=off". */
export function screenArgs(): string[] {
  return ['-device', 'VGA,id=screen'];
}

/** An isolated network with ports forwarded from this host's loopback interface; none without ports. */
export function networkArgs(ports: readonly { readonly hostPort: number; readonly guestPort: number }[]): string[] {
  if (ports.length === 0) return [];
  const forwards = ports.map(({ hostPort, guestPort }) => `,hostfwd=tcp:127.0.0.1:${hostPort}-:${guestPort}`).join('');
  return ['-netdev', `user,id=network,restrict=on${forwards}`, '-device', 'virtio-net-pci,netdev=network,romfile='];
}

/** SMBIOS strings for systemd: kernel parameters that systemd-boot adds, and system credentials.
 *  @see systemd-boot(7), "SMBIOS Type 11 Strings"; systemd.system-credentials(7) */
export function smbiosArgs(
  kernelParameters: string | undefined,
  credentials: Readonly<Record<string, string>> = {},
): string[] {
  const strings = [
    ...(kernelParameters === undefined ? [] : [`io.systemd.boot.kernel-cmdline-extra=${kernelParameters}`]),
    // Base64, because a value may contain any character.
    ...Object.entries(credentials).map(
      ([name, value]) => `io.systemd.credential.binary:${name}=${Buffer.from(value).toString('base64')}`,
    ),
  ];
  return strings.flatMap((text) => ['-smbios', `type=11,value=${escapeOptionValue(text)}`]);
}

/** Entropy from the host: a guest that waits for its own boots slowly. */
export function entropyArgs(type: MachineType = 'q35'): string[] {
  return [
    '-object',
    'rng-random,id=entropy,filename=/dev/urandom',
    '-device',
    `${type === 'microvm' ? 'virtio-rng-device' : 'virtio-rng-pci'},rng=entropy`,
  ];
}

/** A real-time clock that starts at a given time, in UTC. @param seconds since 1970 */
export function clockArgs(seconds: number): string[] {
  return ['-rtc', `base=${new Date(seconds * 1000).toISOString().slice(0, 19)}`];
}

/** A virtio-serial port connected to a socket on this host. */
export function portArgs(socket: string, portName: string, type: MachineType): string[] {
  return [
    ...['-chardev', `socket,id=port,path=${escapeOptionValue(socket)},server=on,wait=off`],
    ...['-device', `${type === 'microvm' ? 'virtio-serial-device' : 'virtio-serial-pci'},max_ports=2`],
    ...['-device', `virtserialport,chardev=port,name=${escapeOptionValue(portName)}`],
  ];
}
