import type { Fault } from '../fault.ts';
export const FORGED: readonly Fault[] = [];
