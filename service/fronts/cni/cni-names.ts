/**
 * Says how cleat calls what a CNI runtime names: the container, and the pod that it is.
 *
 * Guarantees: pure. The same id is always the same container. An id is kept as it is if containers can have it; a longer one
 * keeps its beginning, and a hash of all of it takes the place of the rest.
 * Limits: a pod's name with a dot is no name in DNS here: it may be that of a public server. A name that is taken is
 * left out: a pod that is started again may overlap with its former life (attachments.ts).
 */
import { createHash } from 'node:crypto';
import { FaultError } from '../../../state/faults.ts';
import { ContainerId, DnsName, IpAddress, MacAddress } from '../../../state/names.ts';

const LONGEST = 100;
const HASH = 32;

export function containerIdFor(id: string): string {
  if (id.length <= LONGEST) return id;
  const hash = createHash('sha256').update(id).digest('hex').slice(0, HASH);
  return `${id.slice(0, LONGEST - HASH - 1)}-${hash}`;
}

export interface CniArgs {
  ips: string[];
  mac?: string;
  /** Names the container for people, by the pod and its namespace. */
  name?: string;
  hostname?: string;
}

const refuse = (message: string): FaultError =>
  new FaultError('BAD_REQUEST', message, { issues: [{ path: 'env.CNI_ARGS', message }] });

/** Names what is read here; all others are refused, unless IgnoreUnknown is set. */
const KNOWN = new Set(['IgnoreUnknown', 'IP', 'MAC']);
/** Begins what Kubernetes' runtimes and Podman set, whether it is needed here or not. */
const OF_PODS = 'K8S_POD_';

/** Reads CNI_ARGS: KEY=VALUE pairs with semicolons between. */
export function readArgs(text = ''): CniArgs {
  const pairs = new Map<string, string>();
  for (const pair of text.split(';').filter((one) => one !== '')) {
    const at = pair.indexOf('=');
    if (at < 1) throw refuse(`CNI_ARGS: ${JSON.stringify(pair)} is not KEY=VALUE`);
    pairs.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const ignores = ['1', 'true'].includes((pairs.get('IgnoreUnknown') ?? '').toLowerCase());
  const unknown = [...pairs.keys()].filter((key) => !KNOWN.has(key) && !key.startsWith(OF_PODS));
  if (!ignores && unknown.length > 0) {
    throw refuse(`CNI_ARGS: unknown ${unknown.join(', ')}; known: IP, MAC, K8S_POD_...; or set IgnoreUnknown=1`);
  }
  const { data: mac } = MacAddress.optional().safeParse(pairs.get('MAC'));
  if (pairs.has('MAC') && mac === undefined)
    throw refuse(`CNI_ARGS: MAC=${pairs.get('MAC')} is no unicast MAC address`);
  const ips = (pairs.get('IP') ?? '').split(',').filter((ip) => ip !== '');
  return {
    ips: ips.map((ip) => {
      const { data } = IpAddress.safeParse(ip.split('/')[0]);
      if (data === undefined) throw refuse(`CNI_ARGS: IP=${ip} is no address`);
      return data;
    }),
    ...(mac === undefined ? {} : { mac }),
    ...podNames(pairs.get('K8S_POD_NAME') ?? '', pairs.get('K8S_POD_NAMESPACE') ?? ''),
  };
}

/** Podman gives a container's own name as the name of the namespace, too. */
function podNames(pod: string, namespace: string): Pick<CniArgs, 'name' | 'hostname'> {
  const full = namespace === '' || namespace === pod ? pod : `${pod}.${namespace}`;
  return {
    ...(ContainerId.safeParse(full).success ? { name: full } : {}),
    ...(DnsName.safeParse(pod).success && !pod.includes('.') ? { hostname: pod } : {}),
  };
}
