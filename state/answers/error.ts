/**
 * The answer of the API to a request that it did not do: a fault, and what the reader can do.
 *
 * Limits: state/faults.ts has the codes and their HTTP status.
 */
import { z } from 'zod';
import { Fault } from '../faults.ts';

export const ApiError = Fault.extend({ hint: z.string().describe('What the reader can do') });
export type ApiError = z.infer<typeof ApiError>;

export const ErrorAnswer = z.object({ error: ApiError });
export type ErrorAnswer = z.infer<typeof ErrorAnswer>;
