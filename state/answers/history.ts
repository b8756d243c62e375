/**
 * The history of a container: one entry per change of state, and per drift or repair, as the journal keeps it.
 */
import { z } from 'zod';
import { Drift } from '../container.ts';
import { Fault } from '../faults.ts';

export const JournalEntry = z.object({
  t: z.number().describe('Milliseconds since the epoch'),
  machine: z.string().describe('"container", or the child that moved: "attachment"'),
  event: z.string(),
  from: z.string(),
  to: z.string(),
  ms: z.number().describe('How long the state `from` lasted'),
  fault: Fault.optional(),
  drift: z.array(Drift).optional().describe('What others changed, or what was put back; of much, the first sixteen'),
  by: z.string().optional().describe('Who changed it, where the kernel says so'),
});
export type JournalEntry = z.infer<typeof JournalEntry>;
