/**
 * Who is at the other end of the socket, and what they may ask for.
 *
 * Guarantees: decided by the credentials the kernel recorded when the peer connected (SO_PEERCRED), never by anything
 * the peer says. Only root, or the user the daemon runs as, may name a namespace path, a process or an outside: with
 * those one reaches into namespaces of others.
 * Limits: reaching the socket at all is the right to give containers a network, and to make and remove networks; its file
 * mode (0660) says who can.
 */
import type { Socket } from 'node:net';
import { peerCredentials, type PeerCredentials } from '../native/index.ts';
import type { LifecycleEvent } from '../state/event.ts';
import { FaultError } from '../state/faults.ts';

export type Peer = PeerCredentials;

const peers = new WeakMap<Socket, Peer>();

/** Ask once per connection: the answer does not change. */
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

export function authorise(peer: Peer, event: LifecycleEvent): void {
  if (peer.uid === 0 || peer.uid === process.getuid?.()) return;
  if (event.type !== 'create') return;
  const asked =
    event.netns?.mode === 'path' || event.netns?.mode === 'pid'
      ? `netns.${event.netns.mode}`
      : event.outside !== undefined
        ? 'outside'
        : event.bound_to !== undefined
          ? 'bound_to'
          : null;
  if (asked !== null) throw new FaultError('NOT_ALLOWED', `${asked} is not allowed for uid ${peer.uid}`);
}
