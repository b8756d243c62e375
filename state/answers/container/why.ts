/**
 * Declares the answer to why a container is as it is: the state of each part, what led there, what blocks the next step, and what
 * would unblock it.
 *
 * Guarantees: each text is a sentence for people, except where a command stands in backquotes. Programs read `well`, the parts
 * with their condition, `retry` and `legal`; the wording of texts may change.
 */
import { z } from 'zod';
import { ContainerId } from '../../names.ts';

/** A part is ok if it is as it should be, waiting if it comes or goes by itself, wrong if it is missing, changed or failed. */
export const Condition = z.enum(['ok', 'waiting', 'wrong']);
export type Condition = z.infer<typeof Condition>;

export const WhyPart = z.object({
  part: z
    .enum([
      'namespace',
      'attachment',
      'uplink',
      'names',
      'ports',
      'publisher',
      'leases',
      'network',
      'overlay',
      'firewall',
      'firewalld',
      'resolver',
      'rootless',
      'forwarder',
    ])
    .describe('The last seven are shared with other containers'),
  object: z.string().nullable().describe('Which one, where there may be several: the network, the program'),
  condition: Condition,
  text: z.string(),
});
export type WhyPart = z.infer<typeof WhyPart>;

export const Why = z.object({
  id: ContainerId,
  name: z.string(),
  state: z.string().describe('As in the list of containers'),
  well: z.boolean().describe('It is up, each part of it is as it should be, and nothing is left to do'),
  verdict: z.string(),
  parts: z.array(WhyPart),
  led: z
    .array(z.object({ t: z.number().describe('Milliseconds since the epoch'), text: z.string() }))
    .describe('What led to this state, oldest first, as far as the journal goes back'),
  blocks: z.array(z.string()).describe('What keeps it from being well'),
  retry: z
    .object({ attempt: z.int(), at: z.number().describe('Milliseconds since the epoch'), in_ms: z.number() })
    .nullable()
    .describe('When it tries again by itself'),
  unblocks: z.array(z.string()).describe('What can be done about it'),
  legal: z.array(z.string()).describe('Events that it accepts now'),
});
export type Why = z.infer<typeof Why>;
