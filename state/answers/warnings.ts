/**
 * The warnings in an answer: one sentence each, for people.
 *
 * Guarantees: a warning refuses nothing.
 */
import { z } from 'zod';

export const warnings = z
  .array(z.string())
  .optional()
  .describe('What is done, and may not be what was meant; absent where there is nothing to say');
