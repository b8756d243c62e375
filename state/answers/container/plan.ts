/**
 * Describes a plan: the answer to an event that is only foreseen (`dry_run`), which `POST /v1/plans/HASH/apply` carries out.
 *
 * Limits: the path of success alone. docs/decisions/0054 says what a plan can foresee.
 */
import { z } from 'zod';
import { LifecycleEvent } from '../../event.ts';
import { ContainerId, NetworkName } from '../../names.ts';
import { PublishedPort, StatusBlock } from './container.ts';

export const PlanStep = z.object({
  machine: z
    .string()
    .describe('"container", its "attachment" or "uplink", or one that containers share: "network web", "firewall"'),
  state: z.string().describe('The state that the machine is in after this step'),
  effect: z.string().optional().describe('What runs in this state; absent where nothing does, or a machine below it'),
  input: z.record(z.string(), z.unknown()).optional().describe('What the effect gets'),
});
export type PlanStep = z.infer<typeof PlanStep>;

export const Plan = z.object({
  hash: z.string().describe('SHA-256 of everything else in here; it names the plan'),
  id: ContainerId,
  event: LifecycleEvent,
  from: z.string().nullable().describe('The state of the container now; null if there is none'),
  to: z.string().describe('The state at the end'),
  steps: z.array(PlanStep).describe('In order; machines that containers share go on beside the container'),
  grants: z
    .object({ networks: z.record(NetworkName, StatusBlock), ports: z.array(PublishedPort) })
    .describe('What the container would get that it does not have'),
  notes: z.array(z.string()).describe('The warnings that the event would get, and what else happens'),
});
export type Plan = z.infer<typeof Plan>;
