import { basename } from 'node:path';
import type { BootReport } from '../verify/boot-report.ts';
import { isAsExpected, type ReportedBoot } from './reported-boot.ts';
import { counted, firmwareName } from './words.ts';

/** The verdict of all boots in one sentence. */
export function headline(boots: readonly ReportedBoot[]): string {
  const [first] = boots;
  if (first === undefined) return 'No boots';
  const isOneImage = boots.every(({ image, title }) => image === first.image && title === undefined);
  return isOneImage ? ofImage(basename(first.image), boots) : ofMany(boots);
}

/** "nixos.img does not boot in EFI; it boots in legacy BIOS" */
function ofImage(image: string, boots: readonly BootReport[]): string {
  const firmwares = new Map<string, string[]>();
  for (const boot of [...boots].sort((a, b) => Number(a.ok) - Number(b.ok))) {
    const clause = clauseOf(boot);
    firmwares.set(clause, [...(firmwares.get(clause) ?? []), where(boot)]);
  }
  const clauses = [...firmwares].map(([clause, names]) => clause.replace('…', listOf(names, clause.includes(' not '))));
  return `${image} ${clauses.join('; it ')}`;
}

function ofMany(boots: readonly ReportedBoot[]): string {
  const wrong = boots.filter((boot) => !isAsExpected(boot)).length;
  const isExpected = boots.some(({ expected }) => expected !== undefined);
  const all = boots.length === 1 ? 'The boot' : `All ${counted(boots.length, 'boot')}`;
  if (wrong === 0) return isExpected ? `${all} went as expected` : `${all} ${boots.length === 1 ? 'is' : 'are'} good`;
  return `${wrong} of ${counted(boots.length, 'boot')} ${isExpected ? 'did not go as expected' : 'failed'}`;
}

/** What became of it, with "…" for where that was. */
function clauseOf({ ok, failure, checks, cleanShutdown }: BootReport): string {
  if (ok) return 'boots …';
  if (failure?.stage === 'checks') {
    const wrong = checks.filter((check) => !check.ok).length;
    return `boots …, but ${wrong} of ${counted(checks.length, 'check')} failed`;
  }
  if (failure?.stage === 'shutdown') return 'boots …, but does not shut down cleanly';
  if (failure?.stage === 'image' || cleanShutdown) return 'boots …, but something is wrong with it';
  if (failure?.stage === 'login') return 'comes to its login …, but the login fails';
  return 'does not boot …';
}

function where(boot: BootReport): string {
  return `${boot.firmware === 'direct' ? 'by' : 'in'} ${firmwareName(boot)}`;
}

function listOf(names: readonly string[], isNegative: boolean): string {
  return names.join(isNegative ? ' or ' : ' and ');
}
