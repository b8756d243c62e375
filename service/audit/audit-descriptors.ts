/**
 * Audits the network namespaces that descriptors of the daemon keep: each is an outside, is pinned, or is prepared for a container.
 *
 * Guarantees: read from /proc and the mount table. One that an operation under way has open is no finding: a descriptor counts
 * when it has stayed open for a second.
 * Limits: a leaked descriptor is not closed, because nobody knows who uses it. It ends with the daemon, and so does the namespace.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Kernel } from '../../effects/kernel.ts';
import type { NetnsIdentity } from '../../native/index.ts';
import type { Found } from './audit-finding.ts';

const LOOKS = 10;
const BETWEEN_MS = 100;

/** `prepared` returns the namespaces that are held for containers to come. */
export async function auditDescriptors(kernel: Kernel, prepared: () => NetnsIdentity[]): Promise<Found[]> {
  let left = strayIn(kernel, prepared());
  for (let look = 1; look < LOOKS && left.size > 0; look++) {
    await delay(BETWEEN_MS);
    const now = strayIn(kernel, prepared());
    left = new Map([...left].filter(([number, namespace]) => now.get(number) === namespace));
  }
  return [...left.values()].map((object) => ({ kind: 'namespace', object, problem: 'leaked' }));
}

/** Returns the descriptors of namespaces that nothing explains, by their numbers: net:[4026532178]. */
function strayIn(kernel: Kernel, prepared: readonly NetnsIdentity[]): Map<string, string> {
  const outsides = [null, ...kernel.opened()].map((outside) => kernel.outside(outside).kernel.identity());
  const known = new Set([...outsides, ...prepared].map(({ ino }) => `net:[${ino}]`));
  for (const [namespace] of readFileSync('/proc/self/mountinfo', 'utf8').matchAll(/net:\[\d+\]/g)) known.add(namespace);
  const open = readdirSync('/proc/self/fd').map((number) => [number, linkOf(number)] as const);
  return new Map(open.filter(([, namespace]) => namespace.startsWith('net:[') && !known.has(namespace)));
}

/** Returns what a descriptor is; an empty text if it has been closed meanwhile. */
function linkOf(number: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${number}`);
  } catch {
    return '';
  }
}
