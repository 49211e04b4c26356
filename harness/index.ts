export type { DiskFormat } from '../lib/disk-image-format.ts';
export { type BuilderKernel, distributionKernel, systemKernel } from './builder-kernel.ts';
export { type BuilderVm, type StartBuilderVmOptions, startBuilderVm } from './builder-vm.ts';
export {
  type BootCheck,
  checkCurrentSystem,
  checkFailedUnits,
  checkFirmwareMode,
  checkFreshMachineId,
  checkOwnership,
  checkRootClean,
  checkRootFilesystem,
  checkRootGrowable,
  checkSecureBoot,
  checkStoreContents,
  checkTimeToLogin,
  commandCheck,
  equalCheck,
} from './checks.ts';
export { FAILURE_PATTERNS, type FailurePattern, type FailureSeen } from './console/failures.ts';
export { BOOT_STAGES, type BootStage, type StageSeen } from './console/stages.ts';
export { type ContainerExecutor, type ContainerExecutorOptions, containerExecutor } from './container-executor.ts';
export {
  AssertionFailedError,
  BootFailedError,
  type ConsoleEvidence,
  FirmwareMissingError,
  HarnessError,
  type MachineExit,
  MachineExitedError,
  WaitTimeoutError,
} from './errors.ts';
export type { HangBudget } from './hang-watch.ts';
export type { Machine } from './machine.ts';
export type {
  DirectKernel,
  Firmware,
  GuestResult,
  MachineContext,
  MachineSpec,
  WaitOptions,
} from './machine-spec.ts';
export { type AcceleratorVerdict, chooseAccelerator } from './qemu/accelerator.ts';
export type { DiskInterface, MachineType } from './qemu/argv.ts';
export { findUefiFirmware, type UefiFirmware } from './qemu/firmware.ts';
export { renderHtml } from './report/html.ts';
export { renderJunit } from './report/junit.ts';
export { renderText } from './report/text.ts';
export type { Screen } from './screen.ts';
export { startMachine } from './start-machine.ts';
export {
  type BootFailure,
  type BootReport,
  type CheckReport,
  type VerifyBootOptions,
  verifyBoot,
} from './verify-boot.ts';
