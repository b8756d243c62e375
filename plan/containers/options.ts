/**
 * Compares two sets of attachment options.
 *
 * Guarantees: pure; an absent option equals its default, the order of addresses and aliases does not matter.
 * Limits: compares the requests, not the leases that were granted.
 */
import type { AttachmentOptions } from '../../state/event.ts';

export function sameOptions(a: AttachmentOptions, b: AttachmentOptions): boolean {
  return text(a) === text(b);
}

const text = (options: AttachmentOptions): string =>
  JSON.stringify([
    (options.static_ips ?? []).toSorted(),
    options.static_mac ?? '',
    options.interface_name ?? '',
    (options.aliases ?? []).toSorted(),
    options.gateway_priority ?? 0,
  ]);
