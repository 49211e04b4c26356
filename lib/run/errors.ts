import { formatBytes, formatDuration } from '../units.ts';

/** Options that all errors of this project accept. */
export interface DiskImageErrorOptions {
  readonly hint?: string | undefined;
  readonly cause?: unknown;
  /** The paragraph after the message: a tool's output, the console's last lines. */
  readonly detail?: string | undefined;
}

/** The base class of all errors of this project: a stable `code`, and often a `hint` that says what to do. */
export abstract class DiskImageError extends Error {
  abstract readonly code: `E_${string}`;
  /** What the user can do about it. */
  readonly hint: string | undefined;
  /** The message's first paragraph, without tool output and hint. */
  readonly shortMessage: string;

  constructor(shortMessage: string, options: DiskImageErrorOptions = {}) {
    const paragraphs = [shortMessage];
    if (options.detail !== undefined && options.detail.trim() !== '') paragraphs.push(options.detail.trimEnd());
    if (options.hint !== undefined) paragraphs.push(`Hint: ${options.hint}`);
    super(paragraphs.join('\n\n'), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.shortMessage = shortMessage;
    this.hint = options.hint;
  }
}

/** A problem with one option. */
export interface OptionIssue {
  /** `contents[2].user`; empty for the options as a whole. */
  readonly path: string;
  readonly message: string;
}

/** The options are invalid. Nothing was changed. All issues are reported at once. */
export class InvalidOptionsError extends DiskImageError {
  readonly code = 'E_INVALID_OPTIONS';
  /** What the options were for: a step's name, "image specification". */
  readonly what: string;
  readonly issues: readonly OptionIssue[];

  constructor(what: string, issues: readonly OptionIssue[], options: DiskImageErrorOptions = {}) {
    const lines = issues.map((issue) => (issue.path === '' ? issue.message : `${issue.path}: ${issue.message}`));
    super(
      lines.length === 1
        ? `${what}: ${lines[0]}`
        : `${what}: ${lines.length} problems\n${lines.map((l) => `  ${l}`).join('\n')}`,
      options,
    );
    this.what = what;
    this.issues = issues;
  }
}

/** A program that a step needs is not on the PATH, or is too old. */
export class ToolMissingError extends DiskImageError {
  readonly code = 'E_TOOL_MISSING';
  readonly tool: string;

  constructor(step: string, tool: string, options: DiskImageErrorOptions = {}) {
    super(`${step}: the program ${tool} was not found`, options);
    this.tool = tool;
  }
}

export interface ToolFailure {
  readonly step: string;
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** The end of the tool's standard error, or of its standard output if standard error is empty. */
  readonly outputTail: string;
  readonly durationMs: number;
  /** The name of the executor that ran it. */
  readonly executor: string;
}

/** A program ran and failed. */
export class ToolFailedError extends DiskImageError {
  readonly code = 'E_TOOL_FAILED';
  readonly failure: ToolFailure;

  constructor(failure: ToolFailure, options: DiskImageErrorOptions & { readonly what?: string | undefined } = {}) {
    const end =
      failure.signal === undefined ? `exited with status ${failure.exitCode}` : `was killed by ${failure.signal}`;
    // The text of this project's own scripts would hide the arguments that matter.
    const command = failure.argv.map((word) => (/\n.*\n/s.test(word) ? '(script)' : quoteForDisplay(word))).join(' ');
    super(
      options.what === undefined
        ? `${failure.step}: ${failure.argv[0]} ${end} after ${formatDuration(failure.durationMs)}; expected exit status 0`
        : `${failure.step}: ${options.what} (${failure.argv[0]} ${end})`,
      { ...options, detail: `Command (${failure.executor}): ${command}\n${failure.outputTail.trimEnd()}` },
    );
    this.failure = failure;
  }
}

/** A filesystem, partition or gap lacks the bytes or inodes that are needed. */
export class NoSpaceError extends DiskImageError {
  readonly code = 'E_NO_SPACE';
  readonly neededBytes: number | undefined;
  readonly availableBytes: number | undefined;
  readonly neededInodes: number | undefined;
  readonly availableInodes: number | undefined;

  constructor(
    step: string,
    where: string,
    numbers: {
      readonly neededBytes?: number | undefined;
      readonly availableBytes?: number | undefined;
      readonly neededInodes?: number | undefined;
      readonly availableInodes?: number | undefined;
    },
    options: DiskImageErrorOptions = {},
  ) {
    const parts: string[] = [];
    if (numbers.neededBytes !== undefined || numbers.availableBytes !== undefined)
      parts.push(`needed ${bytesOrUnknown(numbers.neededBytes)}, available ${bytesOrUnknown(numbers.availableBytes)}`);
    if (numbers.neededInodes !== undefined)
      parts.push(`needed ${numbers.neededInodes} inodes, available ${numbers.availableInodes ?? 'unknown'}`);
    super(`${step}: no space left in ${where}${parts.length > 0 ? `; ${parts.join('; ')}` : ''}`, options);
    this.neededBytes = numbers.neededBytes;
    this.availableBytes = numbers.availableBytes;
    this.neededInodes = numbers.neededInodes;
    this.availableInodes = numbers.availableInodes;
  }
}

/** The lack of space is inside the image: a disk, partition or gap is too small for its content. */
export class ImageTooSmallError extends NoSpaceError {}

/** A step found something unexpected: a directory that is not a NixOS root, an entry that exists already, a partition
 *  at another offset than requested. */
export class UnexpectedStateError extends DiskImageError {
  readonly code = 'E_UNEXPECTED_STATE';

  constructor(
    step: string,
    what: string,
    options: DiskImageErrorOptions & {
      readonly expected?: string | undefined;
      readonly found?: string | undefined;
    } = {},
  ) {
    const versus = [
      ...(options.expected === undefined ? [] : [`expected ${options.expected}`]),
      ...(options.found === undefined ? [] : [`found ${options.found}`]),
    ].join(', ');
    super(`${step}: ${what}${versus === '' ? '' : `; ${versus}`}`, options);
  }
}

/** The caller's AbortSignal fired, or the process received a signal to stop. */
export class AbortedError extends DiskImageError {
  readonly code = 'E_ABORTED';

  constructor(step: string, options: DiskImageErrorOptions = {}) {
    super(`${step}: aborted`, options);
  }
}

/** Quotes an argument so that a person can paste it into a shell. This project itself never passes it to one. */
export function quoteForDisplay(argument: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(argument)) return argument;
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}

function bytesOrUnknown(bytes: number | undefined): string {
  return bytes === undefined ? 'unknown' : `${bytes} bytes (${formatBytes(bytes)})`;
}
