/**
 * Calls the handler of published ports: the firewall, the forwarder, or slirp4netns over its API socket.
 *
 * Guarantees: the input names the handler. Each handler does all of a call or nothing of it, and a call may be repeated.
 * Limits: pasta gets its ports when it starts, not here.
 */
import { join } from 'node:path';
import type { PublishInput } from '../../plan/containers/change.ts';
import type { Tie } from '../../state/container.ts';
import { forward, unforward, type ForwarderPlaces } from '../forwarder/forwarder.ts';
import type { Kernel } from '../kernel.ts';
import * as firewall from './ports.ts';
import { slirpForward, slirpUnforward } from './slirp-forward.ts';

export interface HandlerPlaces {
  /** The directory that holds the directories of uplinks. */
  uplinks: string;
  forwarder: ForwarderPlaces;
}

/** Adds `targets` and removes `replacing`. `boundTo` returns what an owner's ports end with. */
export const publish =
  (kernel: Kernel, { uplinks, forwarder }: HandlerPlaces, boundTo: (owner: string) => readonly Tie[]) =>
  (input: PublishInput): Promise<void> => {
    const { through, outside, targets, replacing } = input;
    switch (through?.handler) {
      case undefined:
        return firewall.publish(kernel)(input);
      case 'forwarder':
        return forward(forwarder)({
          outside,
          netns: through.netns,
          targets,
          replacing,
          boundTo: targets[0] === undefined ? [] : boundTo(targets[0].owner),
        });
      case 'slirp4netns':
        return slirpForward({ directory: join(uplinks, through.directory), targets, replacing });
    }
  };

/** Removes `replacing`. */
export const unpublish =
  (kernel: Kernel, { uplinks, forwarder }: HandlerPlaces) =>
  (input: PublishInput): Promise<void> => {
    const { through, outside, targets, replacing } = input;
    switch (through?.handler) {
      case undefined:
        return firewall.unpublish(kernel)(input);
      case 'forwarder':
        return unforward(forwarder)({ outside, netns: through.netns, targets, replacing });
      case 'slirp4netns':
        return slirpUnforward({ directory: join(uplinks, through.directory), targets: replacing });
    }
  };
