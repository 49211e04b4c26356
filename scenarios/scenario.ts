import { mkdtemp, readFile, readlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startBuilderVm } from '../harness/builder/builder-vm.ts';
import { AssertionFailedError } from '../harness/errors.ts';
import type { Firmware } from '../harness/machine/machine-spec.ts';
import type { Architecture } from '../harness/qemu/architecture.ts';
import { findUefiFirmware } from '../harness/qemu/firmware.ts';
import { renderText } from '../harness/report/text.ts';
import type { BootReport } from '../harness/verify/boot-report.ts';
import {
  type BootCheck,
  checkCurrentSystem,
  checkFailedUnits,
  checkFirmwareMode,
  checkRootFilesystem,
  checkStoreContents,
} from '../harness/verify/checks.ts';
import { type VerifyBootOptions, verifyBoot } from '../harness/verify/verify-boot.ts';
import { recordBoot } from '../harness/vitest.ts';
import { type BuildImageOptions, type BuiltImage, buildImage } from '../lib/build/build-image.ts';
import { removeTree } from '../lib/host-files/private-output.ts';
import { buildAsNobody } from '../test/helpers/nobody.ts';
import { type DemoSystems, prepareDemo } from '../vm-images/demo.ts';

/** A system, the image to build from it, how that image boots, and assertions about the booted system. */
export interface Scenario {
  /** A demo system: `demo-grub-bios`, `tiny-systemd-boot` … */
  readonly system: string;
  readonly image: Partial<BuildImageOptions>;
  /** The architecture of the system; default "x86_64". */
  readonly architecture?: Architecture;
  readonly boots: readonly Firmware[];
  /** Checks in addition to those of every boot. */
  readonly inside?: readonly BootCheck[];
  readonly machine?: Partial<VerifyBootOptions>;
  /** Whether the image is built from boot.json by the user nobody, without KVM and QEMU; default: with the builder VM. */
  readonly withoutVm?: boolean;
}

export interface ScenarioImage {
  readonly built: BuiltImage;
  readonly demo: DemoSystems;
}

/** Builds the scenario's image in a private directory, which is removed after the test. */
export async function buildScenario({
  system,
  image,
  architecture,
  withoutVm = false,
}: Pick<Scenario, 'system' | 'image' | 'architecture' | 'withoutVm'>): Promise<ScenarioImage> {
  const demo = await prepareDemo(undefined, architecture);
  const toplevel = demo.systems[system];
  if (toplevel === undefined) throw new Error(`there is no demo system ${system}`);
  if (withoutVm) {
    const way = {
      bootLoaderFrom: 'bootspec',
      ...(image.partitionTableType === 'none' ? {} : { bootLoaderTimeout: 0 }),
    };
    const specification = { toplevel, additionalSpace: '64M', ...way, ...image, store: demo.store };
    return { built: await buildAsNobody(specification), demo };
  }
  const outDir = await mkdtemp(join(tmpdir(), 'ndi-scenario-'));
  onTestFinished(() => removeTree(outDir));
  const built = await buildImage(
    { toplevel, store: demo.store, additionalSpace: '64M', ...image, outDir },
    {
      startBuilder: startBuilderVm,
      efiVariablesTemplate: async () => (await findUefiFirmware()).variablesTemplate,
    },
  );
  return { built, demo };
}

function isRootInMemory({ partitions }: Scenario['image']): boolean {
  return partitions !== undefined && !partitions.some(({ mountPoint }) => mountPoint === '/');
}

/** Boots a scenario's image with the checks of every boot and those of the scenario. */
export async function bootScenario(
  { built, demo }: ScenarioImage,
  { system, image, inside = [], machine = {}, withoutVm = false, architecture = 'x86_64' }: Scenario,
  firmware: Firmware,
): Promise<BootReport> {
  const { toplevel } = built.system;
  const isDemo = system.startsWith('demo-');
  const isNative = architecture === 'x86_64';
  const inMemory = isRootInMemory(image);
  const hasProfile = !inMemory || image.partitions?.some(({ mountPoint }) => mountPoint === '/nix') === true;
  const verified = await verifyBoot({
    image: built.image,
    firmware,
    checks: [
      checkFirmwareMode(firmware),
      checkCurrentSystem(toplevel),
      ...(inMemory ? [] : [checkRootFilesystem({ uuid: built.filesystem.uuid, label: built.filesystem.label })]),
      ...(isDemo ? [checkFailedUnits, checkStoreContents] : []),
      ...(withoutVm && firmware !== 'direct' && isNative && hasProfile ? [checkSwitchesAgain] : []),
      ...inside,
    ],
    ...(firmware === 'direct' ? { kernel: await directKernel(join(demo.store, toplevel), demo.store, toplevel) } : {}),
    ...machine,
  });
  const report = recordBoot(verified);
  expect(report.ok, renderText(report)).toBe(true);
  expect(report.cleanShutdown).toBe(true);
  return report;
}

/** Checks that the system's own boot loader installer keeps the files that this project installed. */
const checkSwitchesAgain: BootCheck = {
  name: 'switch-to-configuration boot runs again',
  async run(machine) {
    const list = "find /boot /efi -type f -exec cksum '{}' + 2> /dev/null | sort -k 3";
    const before = await machine.succeed(list);
    await machine.succeed('/nix/var/nix/profiles/system/bin/switch-to-configuration boot');
    const after = await machine.succeed(list);
    const names = (text: string): string =>
      text
        .split('\n')
        .map((line) => line.split(' ').slice(2).join(' '))
        .join('\n');
    if (names(after) !== names(before))
      throw new AssertionFailedError(
        `the boot partition: expected the same files before and after\n${before}\nfound\n${after}`,
      );
    return undefined;
  },
};

/** Defines two tests for a layout: the image is built with the builder VM, and without a VM. */
export function layoutScenario(name: string, description: Scenario): void {
  scenario(name, description);
  scenario(`${name}, without a VM`, { ...description, withoutVm: true });
}

/** Defines a test that builds a scenario's image and boots it with each of its firmwares. */
export function scenario(name: string, description: Scenario): void {
  test(name, async () => {
    const image = await buildScenario(description);
    for (const firmware of description.boots) await bootScenario(image, description, firmware);
  });
}

async function directKernel(directory: string, store: string, toplevel: string) {
  const parameters = await readFile(join(directory, 'kernel-params'), 'utf8');
  return {
    kernel: join(store, await readlink(join(directory, 'kernel'))),
    initrd: join(store, await readlink(join(directory, 'initrd'))),
    commandLine: `init=${toplevel}/init ${parameters}`,
  };
}
