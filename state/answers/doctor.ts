/**
 * The report of `doctor`: which things on this machine are as cleat needs them, and what the reader can do about the others.
 */
import { z } from 'zod';

export const Check = z.object({
  name: z.string(),
  ok: z.boolean(),
  severity: z
    .enum(['error', 'warning', 'note'])
    .describe('What a failed check means: error (containers get no network), warning (something does not work), note'),
  text: z.string(),
  hint: z.string().optional(),
});
export type Check = z.infer<typeof Check>;

export const DoctorReport = z.object({ checks: z.array(Check) });
export type DoctorReport = z.infer<typeof DoctorReport>;
