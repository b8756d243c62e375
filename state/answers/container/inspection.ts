/**
 * One container in full: its entry in a list, the shape that clients of Docker and Podman read, the process of its uplink,
 * and its differences from the kernel.
 */
import { z } from 'zod';
import { Difference } from '../../container.ts';
import { ContainerView, PastaView, SlirpView } from './container.ts';
import { NetworkSettings } from './network-settings.ts';

export const UplinkProcess = z.object({
  ended: z.int().describe('How often the program has ended by itself, or lost its link'),
  down_ms: z.number().describe('For how long there was none, all together'),
  down_since: z.iso.datetime().nullable().describe('Since when there is none; null while it runs'),
  last: z.string().nullable().describe('What it said when it ended last'),
  state: z.enum(['starting', 'ready', 'ended', 'none']),
  pid: z.int().nullable(),
  ready_ms: z.number().nullable().describe('How long it took to be ready'),
  log: z.string().describe('The end of what it said'),
});
export type UplinkProcess = z.infer<typeof UplinkProcess>;

const process = { process: UplinkProcess.nullable() };

export const Inspection = ContainerView.extend({
  uplink: z.discriminatedUnion('program', [SlirpView.extend(process), PastaView.extend(process)]).nullable(),
  NetworkSettings,
  drift: z.array(Difference),
});
export type Inspection = z.infer<typeof Inspection>;
