/**
 * Puts back what a program of others needs to find before it removes the rest: the namespace, and the link in it.
 *
 * A namespace that is gone took its link along, and others may have taken the link away. netavark refuses to remove the rest of
 * such a container, and the plugins bridge and ptp forget rules that they would have found by the addresses of the link.
 *
 * Guarantees: a link that is there is left as it is, but for addresses that it lacks. A stand-in reaches nothing: both of its
 * ends are in the same namespace.
 * Limits: what the program leaves of a stand-in ends with the namespace.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { isKernelError, type Outside, type RtnlRequest } from '../../native/index.ts';
import type { Attachment } from '../../state/container.ts';
import { isNoNamespace } from '../kernel.ts';
import { refuse } from '../refusal.ts';

const OTHER_END = 'standin';

/** Returns true if a network namespace is at the path. */
export async function isThere(native: Outside, path: string): Promise<boolean> {
  try {
    await native.netnsIdentify(path);
    return true;
  } catch (error) {
    if (isKernelError(error) && isNoNamespace(error.code)) return false;
    throw error;
  }
}

/** Pins a new namespace at the path; one that an interrupted conversation has left goes. */
export async function makeSpare(native: Outside, path: string): Promise<void> {
  await native.netnsRemove(path);
  for (let left = 3; ; left--) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    try {
      await native.netnsCreate(path, {});
      return;
    } catch (error) {
      // The conversation that had the last spare has just removed the directory.
      if (left === 0 || !isKernelError(error) || error.code !== 'ENOENT') throw error;
    }
  }
}

/** Returns true if a namespace has the link of an attachment, with its addresses. */
export async function hasLink(native: Outside, path: string, attachment: Attachment): Promise<boolean> {
  return (await lackOf(native, path, attachment)).length === 0;
}

/** Makes sure that the link of an attachment is in a namespace, with its addresses. */
export async function standIn(native: Outside, path: string, attachment: Attachment): Promise<void> {
  const replies = await native.rtnl(await lackOf(native, path, attachment), path);
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST'),
    attachment.link,
  );
}

/** Returns the requests that make what is missing. */
async function lackOf(native: Outside, path: string, { link, addresses }: Attachment): Promise<RtnlRequest[]> {
  const found = (await native.links(path)).find(({ name }) => name === link);
  const seen = found === undefined ? [] : await native.addresses(path);
  const missing = addresses.filter(
    ({ address, prefix }) =>
      !seen.some((one) => one.link === found?.index && one.address === address && one.prefix === prefix),
  );
  return [
    ...(found === undefined
      ? [{ op: 'link.add', kind: 'veth', name: link, peer: { name: OTHER_END, netns: path } } as const]
      : []),
    ...missing.map(({ address, prefix }): RtnlRequest => ({ op: 'address.add', link, address, prefix })),
  ];
}
