/**
 * The answer to a lifecycle event: the container afterwards, and warnings for the caller.
 *
 * Limits: an event that is refused, or that fails, gets an error (error.ts).
 */
import { z } from 'zod';
import { ContainerView, Gone } from './container/container.ts';
import { ErrorAnswer } from './error.ts';
import { Plan } from './container/plan.ts';
import { warnings } from './warnings.ts';

/** The container after the event, or the note that nothing of it is left. */
export const EventAnswer = z.union([ContainerView.extend({ warnings }), Gone.extend({ warnings })]);
export type EventAnswer = z.infer<typeof EventAnswer>;

/** One line of the answer to many events. */
export const EventLine = z.object({
  line: z.int().describe('Of the request, from 1'),
  status: z.int().describe('As that of an answer to this event alone'),
  body: z.union([EventAnswer, ErrorAnswer]),
});
export type EventLine = z.infer<typeof EventLine>;

/** One line of the answer to many events that are only planned. */
export const PlanLine = EventLine.extend({ body: z.union([Plan, ErrorAnswer]) });
export type PlanLine = z.infer<typeof PlanLine>;
