/// <reference types="node" preserve="true" />
export type { DiskFormat } from '../lib/formats/image-formats.ts';
export { type AcceleratorVerdict, chooseAccelerator } from './builder/accelerator.ts';
export { type BuilderKernel, distributionKernel, systemKernel } from './builder/builder-kernel.ts';
export { type BuilderVm, type StartBuilderVmOptions, startBuilderVm } from './builder/builder-vm.ts';
export {
  type ContainerExecutor,
  type ContainerExecutorOptions,
  containerExecutor,
} from './builder/container-executor.ts';
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
export type { TypedKeys } from './machine/boot-watch.ts';
export type { HangBudget } from './machine/hang-watch.ts';
export type { Machine } from './machine/machine.ts';
export type {
  DirectKernel,
  Firmware,
  FirmwareName,
  GuestResult,
  MachineContext,
  MachineOptions,
  MachineSpec,
  SecureBootOption,
  WaitOptions,
} from './machine/machine-spec.ts';
export type { Screen } from './machine/screen.ts';
export { startMachine } from './machine/start-machine.ts';
export type { DiskInterface, MachineType } from './qemu/argv.ts';
export { findUefiFirmware, type UefiFirmware } from './qemu/firmware.ts';
export type { TimedBoot } from './report/compare.ts';
export { type HtmlOptions, renderHtml } from './report/html.tsx';
export { renderJunit } from './report/junit.ts';
export { renderBootSarif, renderInspectionSarif } from './report/sarif.ts';
export { renderText } from './report/text.ts';
export { FAILURE_PATTERNS, type FailurePattern, type FailureSeen } from './verdict/failures.ts';
export { QUESTIONS, type Question } from './verdict/questions.ts';
export { BOOT_STAGES, type BootStage, type StageSeen } from './verdict/stages.ts';
export type { BootFailure, BootReport, CheckReport, IgnoredFailure } from './verify/boot-report.ts';
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
  checkStoreContents,
  checkTimeToLogin,
  commandCheck,
  equalCheck,
} from './verify/checks.ts';
export { checkEncrypted, checkLockdown, checkSecureBoot, checkTpm } from './verify/security-checks.ts';
export { type VerifyBootOptions, verifyBoot } from './verify/verify-boot.ts';
