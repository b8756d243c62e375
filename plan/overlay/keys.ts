/**
 * Where the parts of overlays are in the store.
 *
 *   /cleat/v1/networks/NAME/shared                what all hosts agree on (OverlayShared)
 *   /cleat/v1/networks/NAME/subnets/10.128.3.0-24 a host's claim to a share (Claim), with the host's lease
 *   /cleat/v1/networks/NAME/rests/10.128.3.0-24   the id of the host that has the share, or had it last; with a longer lease
 *   /cleat/v1/networks/NAME/names/HOST/ID         the names of a container (RemoteNames), with the host's lease
 *
 * Guarantees: pure. A key that is none of these is told apart, and concerns nobody.
 * Limits: values are read elsewhere (effects/overlay/entries.ts).
 */
import { isCanonical } from '../addresses/address.ts';

const ROOT = '/cleat/v1/networks/';

export const rootOf = (name: string): string => `${ROOT}${name}/`;
export const sharedKey = (name: string): string => `${rootOf(name)}shared`;
export const claimsOf = (name: string): string => `${rootOf(name)}subnets/`;
export const restsOf = (name: string): string => `${rootOf(name)}rests/`;
export const namesOf = (name: string): string => `${rootOf(name)}names/`;
export const claimKey = (name: string, subnet: string): string => `${claimsOf(name)}${subnet.replace('/', '-')}`;
export const restKey = (name: string, subnet: string): string => `${restsOf(name)}${subnet.replace('/', '-')}`;
export const namesKey = (name: string, host: string, id: string): string => `${namesOf(name)}${host}/${id}`;

export type Place =
  | { kind: 'shared' }
  | { kind: 'claim' | 'rest'; subnet: string }
  | { kind: 'names'; host: string; id: string }
  | { kind: 'foreign' };

/** Returns what a key below `rootOf(name)` is the key of. */
export function placeOf(name: string, key: string): Place {
  const [part = '', first = '', second, ...more] = key.slice(rootOf(name).length).split('/');
  if (!key.startsWith(rootOf(name)) || more.length > 0) return { kind: 'foreign' };
  if (part === 'shared' && key === sharedKey(name)) return { kind: 'shared' };
  if ((part === 'subnets' || part === 'rests') && second === undefined) {
    const subnet = first.replace(/-(?=\d+$)/, '/');
    return isCanonical(subnet) ? { kind: part === 'subnets' ? 'claim' : 'rest', subnet } : { kind: 'foreign' };
  }
  if (part === 'names' && second !== undefined && /^[0-9a-f]{32}$/.test(first)) {
    return { kind: 'names', host: first, id: second };
  }
  return { kind: 'foreign' };
}
