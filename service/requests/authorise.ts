/**
 * Finds out which user is at the other end of the socket, and decides what that user may ask for.
 *
 * Guarantees: decided by the credentials that the kernel recorded when the peer connected (SO_PEERCRED), never by anything the
 * peer says. Only root, or the user the daemon runs as, may name a namespace path, a process or an outside: these give access to
 * namespaces of others. Only they may say that host ports are reserved: others could take over those of a service. Only they
 * may make a network on a bridge of others (mode=unmanaged), or on a parent (driver macvlan, ...): behind that is a LAN, without
 * rules of ours in between. Only they may start a repair: it removes objects without an owner, and any user may have owned those.
 * Limits: access to the socket is the right to give containers a network, and to make and remove networks. The file mode of the
 * socket (0660) decides who has it.
 */
import type { Socket } from 'node:net';
import { peerCredentials, type PeerCredentials } from '../../native/index.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import { FaultError } from '../../state/faults.ts';
import type { NetworkRequest } from '../../state/network.ts';

export type Peer = PeerCredentials;

const peers = new WeakMap<Socket, Peer>();

/** Returns the credentials of the peer. Asks the kernel once per connection: the answer does not change. */
export function peerOf(socket: Socket): Peer {
  let peer = peers.get(socket);
  if (peer === undefined) {
    // Node has no public way to the descriptor of an accepted pipe; `_handle.fd` has been it since 0.x.
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    peer = peerCredentials(fd);
    peers.set(socket, peer);
  }
  return peer;
}

/** Returns true for root and for the user the daemon runs as. */
export const isTrusted = ({ uid }: Peer): boolean => uid === 0 || uid === process.getuid?.();

export function authorise(peer: Peer, event: LifecycleEvent): void {
  if (isTrusted(peer)) return;
  if (event.type !== 'create') return;
  const asked =
    event.netns?.mode === 'path' || event.netns?.mode === 'pid'
      ? `netns.${event.netns.mode}`
      : event.outside !== undefined
        ? 'outside'
        : event.bound_to !== undefined
          ? 'bound_to'
          : event.ports_reserved === true
            ? 'ports_reserved'
            : event.exit_fd !== undefined
              ? 'exit_fd'
              : null;
  if (asked !== null) throw new FaultError('NOT_ALLOWED', `${asked} is not allowed for uid ${peer.uid}`);
}

export function authoriseNetwork(peer: Peer, { driver = 'bridge', options }: NetworkRequest): void {
  const what = driver === 'bridge' ? 'mode=unmanaged' : `driver ${driver}`;
  if (isTrusted(peer) || (driver === 'bridge' && options?.mode !== 'unmanaged')) return;
  throw new FaultError('NOT_ALLOWED', `a network of ${what} is not allowed for uid ${peer.uid}`);
}

/** An engine names namespaces by path, and networks that nobody else may change. */
export function authoriseEngine(peer: Peer): void {
  if (isTrusted(peer)) return;
  throw new FaultError('NOT_ALLOWED', `an engine's request is not allowed for uid ${peer.uid}`);
}

export function authoriseRepair(peer: Peer): void {
  if (isTrusted(peer)) return;
  throw new FaultError('NOT_ALLOWED', `a repair is not allowed for uid ${peer.uid}`);
}
