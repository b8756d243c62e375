/**
 * A network in the answer to its creation or update, with warnings.
 *
 * Limits: a request for networks gets their definitions alone (state/network.ts).
 */
import type { z } from 'zod';
import { NetworkDefinition } from '../network.ts';
import { warnings } from './warnings.ts';

export const NetworkAnswer = NetworkDefinition.safeExtend({ warnings });
export type NetworkAnswer = z.infer<typeof NetworkAnswer>;
