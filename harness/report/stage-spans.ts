import type { BootStage } from '../verdict/stages.ts';
import type { BootReport } from '../verify/boot-report.ts';

/** A stage, from its first sign to the next stage's, or to the machine's end. */
export interface StageSpan {
  readonly stage: BootStage;
  readonly fromMs: number;
  readonly untilMs: number;
}

export function stageSpans({ timeline, durationMs }: Pick<BootReport, 'timeline' | 'durationMs'>): StageSpan[] {
  return timeline.map(({ stage, atMs }, index) => ({
    stage,
    fromMs: atMs,
    untilMs: timeline[index + 1]?.atMs ?? durationMs,
  }));
}
