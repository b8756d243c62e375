/**
 * Compares what a program of others has made for a container with the kernel, as far as its answer says what that is.
 *
 * Guarantees: pure. There is one difference per object; a missing link's addresses are not listed too. Attachments of cleat are
 * left out, and those whose program has not answered yet.
 * Limits: routes, and whatever is outside the container, are for the program to check.
 */
import type { Attachment, Difference, LeasedAddress } from '../../state/container.ts';

/** The compared fields of native's Link and Address. */
interface LinkSeen {
  index: number;
  name: string;
  mac: string;
  up: boolean;
}
interface AddressSeen {
  link: number;
  address: string;
  prefix: number;
}

/** Returns what is missing of these attachments in the container's namespace: their links, MACs and addresses. */
export function missingInside(
  attachments: readonly Attachment[],
  { links, addresses }: { links: readonly LinkSeen[]; addresses: readonly AddressSeen[] },
): Difference[] {
  return attachments.flatMap(({ network, link: name, mac, external, addresses: wanted }): Difference[] => {
    if (external === undefined || external.result === null) return [];
    const link = links.find((one) => one.name === name);
    if (link === undefined) return [{ kind: 'link', object: name, network, problem: 'missing' }];
    const changed = (object: string): Difference => ({
      kind: 'link',
      object: `${object} on ${name}`,
      network,
      problem: 'changed',
    });
    const there = ({ address, prefix }: LeasedAddress) =>
      addresses.some((one) => one.link === link.index && one.address === address && one.prefix === prefix);
    return [
      ...(mac === '' || link.mac === mac ? [] : [changed(`mac ${mac}`)]),
      ...(link.up ? [] : [changed('up')]),
      ...wanted
        .filter((one) => !there(one))
        .map(({ address, prefix }): Difference => ({
          kind: 'address',
          object: `${address}/${prefix} on ${name}`,
          network,
          problem: 'missing',
        })),
    ];
  });
}
