/**
 * Published ports, by whoever carries them: the firewall, the forwarder, or slirp4netns over its API socket.
 *
 * Guarantees: the input says who; each handler makes all of a call or nothing of it, and may be asked twice.
 * Limits: pasta is told its ports when it starts, and is not asked here.
 */
import { join } from 'node:path';
import type { PublishInput } from '../machines/plan/change.ts';
import type { Child } from '../native/index.ts';
import { forward, unforward, type ForwarderPlaces } from './forwarder.ts';
import type { Kernel } from './kernel.ts';
import * as firewall from './ports.ts';
import { slirpForward, slirpUnforward } from './slirp-forward.ts';

export interface HandlerPlaces {
  /** Where the directories of uplinks are. */
  uplinks: string;
  forwarder: ForwarderPlaces;
}

/** `targets` come, `replacing` go. `boundTo`: the processes that what an owner has ends with. */
export const publish =
  (kernel: Kernel, { uplinks, forwarder }: HandlerPlaces, boundTo: (owner: string) => readonly Child[]) =>
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

/** `replacing` go. */
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
