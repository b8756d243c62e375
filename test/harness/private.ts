/**
 * The guard of every test that changes network or mounts: it must not be the machine's.
 *
 * Guarantees: requirePrivateNamespace throws in the network or mount namespace of the machine's init. Where that is
 * unknown (pid 1 is the test runner's own shell, in the pid namespace each file gets; or its namespaces may not be
 * read), the network must be as empty as a new one, which no machine's is.
 * Limits: a machine with only a loopback interface counts as a private namespace where it is unknown.
 */
import { readFileSync, readlinkSync } from 'node:fs';

/** Links the kernel may put into every new network namespace (net.core.fb_tunnels_only_for_init_net). */
const NEWBORN = /^(lo|sit0|tunl0|gre0|gretap0|erspan0|ip6tnl0|ip6gre0|ip_vti0|ip6_vti0)$/;

export function requirePrivateNamespace(): void {
  const net = sharedWithInit('net');
  const mnt = sharedWithInit('mnt');
  if (net === false && mnt === false) return;
  const grown = links().filter((name) => !NEWBORN.test(name));
  if (net === mnt && grown.length === 0) return;
  throw new Error(
    `refusing to run in the machine's own namespaces (network shared with pid 1: ${net ?? 'unknown'}, ` +
      `mounts: ${mnt ?? 'unknown'}, links: ${grown.join(' ')}); start with \`unshare -n -m\` or through the test runner`,
  );
}

/** null: may not be read (ptrace access mode, namespaces(7)). */
function sharedWithInit(kind: string): boolean | null {
  try {
    return readlinkSync(`/proc/self/ns/${kind}`) === readlinkSync(`/proc/1/ns/${kind}`);
  } catch {
    return null;
  }
}

function links(): string[] {
  return readFileSync('/proc/thread-self/net/dev', 'utf8')
    .split('\n')
    .slice(2)
    .map((line) => line.split(':')[0]?.trim() ?? '')
    .filter((name) => name !== '');
}
