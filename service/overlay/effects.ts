/**
 * The machine of an overlay with its effects: what it does in the store, on this host, and between attempts.
 *
 * Guarantees: an effect that fails ends with a fault that has a code. Whether etcd has answered a claim is told (`heard`), as the keeper
 * tells it of renewals.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { fromPromise } from 'xstate';
import { toFault } from '../../effects/effect.ts';
import type { Claims } from '../../effects/overlay/claim.ts';
import type { Keeper } from '../../effects/overlay/keep.ts';
import { overlayMachine } from '../../machines/overlay.ts';
import { pauseAfter } from '../../plan/pauses.ts';
import { FaultError } from '../../state/faults.ts';
import type { HostIdentity } from './host-identity.ts';

/** A claim is tried again after this at most: nothing is attached until then. */
const LONGEST_PAUSE_MS = 5000;

interface Parts {
  claims: Claims;
  keeper: Keeper;
  identity: HostIdentity;
  renumber: (network: string, subnets: readonly string[]) => Promise<void>;
  /** Takes how a claim has ended; null: etcd has answered. */
  heard: (error: unknown) => void;
  failed: (what: string, error: unknown) => void;
}

export function withEffects({ claims, keeper, identity, renumber, heard, failed }: Parts) {
  const effect = <Input, Output>(name: string, body: (input: Input, signal: AbortSignal) => Promise<Output>) =>
    fromPromise<Output, Input>(({ input, signal }) =>
      body(input, signal).catch((error: unknown) => {
        throw FaultError.of(toFault(error, name));
      }),
    );
  return overlayMachine.provide({
    actors: {
      claimShare: effect('claimShare', async (input, signal) => {
        try {
          const claimed = await claims.claim(input, signal);
          heard(null);
          return claimed;
        } catch (error) {
          const isSilent = error instanceof FaultError && error.fault.code === 'STORE_UNREACHABLE';
          if (isSilent && !signal.aborted) heard(error);
          throw error;
        }
      }),
      renewIdentity: effect('renewIdentity', ({ host }) => {
        failed(
          'host id',
          new FaultError('OVERLAY_DIFFERS', `another host renews the claims of ${host}: this one takes a new id`),
        );
        return Promise.resolve(identity.renew(host));
      }),
      keepShare: effect('keepShare', (input, signal) => keeper.keep(input, signal)),
      regainShare: effect('regainShare', (input, signal) => keeper.regain(input, signal)),
      renumber: effect('renumber', ({ network, subnets }) => renumber(network, subnets)),
      releaseShare: effect('releaseShare', (input) => claims.release(input)),
      backOff: effect('backOff', async ({ attempt }, signal) => {
        // By chance, so that a thousand hosts that etcd was too busy for do not come together again.
        await delay(Math.min(pauseAfter(attempt), LONGEST_PAUSE_MS) * (1 - Math.random() / 2), undefined, { signal });
      }),
    },
  });
}
