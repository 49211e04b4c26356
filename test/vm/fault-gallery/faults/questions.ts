import type { Fault } from '../fault.ts';
export const QUESTIONS: readonly Fault[] = [];
