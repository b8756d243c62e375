/**
 * The history of a container: one entry per change of state, as the journal keeps it.
 */
import { z } from 'zod';
import { Fault } from '../faults.ts';

export const JournalEntry = z.object({
  t: z.number().describe('Milliseconds since the epoch'),
  machine: z.string().describe('"container", or the child that moved: "attachment"'),
  event: z.string(),
  from: z.string(),
  to: z.string(),
  ms: z.number().describe('How long the state `from` lasted'),
  fault: Fault.optional(),
});
export type JournalEntry = z.infer<typeof JournalEntry>;
