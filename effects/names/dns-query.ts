/**
 * Checks that a name leads to an address, with queries to one server from inside a network namespace.
 *
 * Guarantees: it repeats the query until the answer is right or the time is up, so a lost packet or a server that reloads costs
 * milliseconds. Only an answer from that server, to that very query, counts.
 * Limits: UDP; A and AAAA records.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { randomInt } from 'node:crypto';
import { decode, encode, RECURSION_DESIRED } from 'dns-packet';
import { familyOf } from '../../plan/addresses/address.ts';

export interface Question {
  server: string;
  name: string;
  /** The expected address: the answer must be it or contain it. */
  address: string;
}

/** Wait for an answer: this long first, then twice as long, up to the last. */
const PATIENCE_MS = [2, 4, 8, 16, 32, 64, 128];
/** The pause between two queries to a server that may not be there. */
const AGAIN_MS = 200;
/** The pause after a wrong answer. */
const PAUSE_MS = 1;

/**
 * Returns null if the server gives the expected answer, else its last answer. `fd` is an unbound UDP socket of the server's
 * family, which is closed at the end. `until` is on the clock of performance.now(); `hopeless` ends the wait early.
 */
export async function ask(
  fd: number,
  { server, name, address }: Question,
  until: number,
  hopeless: () => boolean,
): Promise<string | null> {
  const socket = await open(fd, familyOf(server));
  try {
    const type = familyOf(address) === 6 ? 'AAAA' : 'A';
    let said = 'nothing';
    for (let round = 0; ; round++) {
      const patience = PATIENCE_MS[Math.min(round, PATIENCE_MS.length - 1)] ?? 0;
      const answer = await once(socket, server, name, type, patience);
      if (answer?.addresses.includes(canonical(address))) return null;
      if (answer !== null) said = `${answer.rcode} ${answer.addresses.join(' ')}`.trim();
      if (hopeless() || performance.now() >= until) return `${server} says ${said} to ${name} ${type}`;
      if (answer !== null) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  } finally {
    socket.close();
  }
}

/** Returns true if the server answers a query for this name within `ms`, with any answer. `fd` as in `ask`. */
export async function answersAtAll(fd: number, server: string, name: string, ms: number): Promise<boolean> {
  const socket = await open(fd, familyOf(server));
  try {
    const until = performance.now() + ms;
    while (performance.now() < until) {
      if ((await once(socket, server, name, 'A', AGAIN_MS)) !== null) return true;
    }
    return false;
  } finally {
    socket.close();
  }
}

function open(fd: number, family: 4 | 6): Promise<Socket> {
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      closeSync(fd);
      reject(error);
    });
    socket.bind({ fd }, () => {
      socket.removeAllListeners('error').on('error', () => {}); // e.g. ENETUNREACH: the same as no answer
      resolve(socket);
    });
  });
}

/** Sends one packet and receives at most one. */
function once(socket: Socket, server: string, name: string, type: 'A' | 'AAAA', patience: number) {
  const id = randomInt(0x1_0000);
  const packet = encode({ type: 'query', id, flags: RECURSION_DESIRED, questions: [{ name, type, class: 'IN' }] });
  return new Promise<{ rcode: string; addresses: string[] } | null>((resolve) => {
    const end = (answer: { rcode: string; addresses: string[] } | null) => {
      clearTimeout(timer);
      socket.off('message', hear);
      resolve(answer);
    };
    const hear = (message: Buffer, { address, port }: RemoteInfo) => {
      if (canonical(address) !== canonical(server) || port !== 53) return;
      const answer = read(message);
      if (answer !== null && answer.id === id && answer.name === name) end(answer);
    };
    const timer = setTimeout(() => end(null), patience);
    socket.on('message', hear);
    socket.send(packet, 53, server, () => {});
  });
}

function read(message: Buffer) {
  try {
    const { id, questions, answers, rcode } = decode(message) as ReturnType<typeof decode> & { rcode?: string };
    const addresses = (answers ?? []).flatMap((record) =>
      (record.type === 'A' || record.type === 'AAAA') && typeof record.data === 'string'
        ? [canonical(record.data)]
        : [],
    );
    return { id, name: questions?.[0]?.name.toLowerCase(), rcode: rcode ?? '?', addresses };
  } catch {
    return null; // not DNS
  }
}

/** Returns one spelling of an IPv6 address, the URL parser's: such addresses have many. */
function canonical(address: string): string {
  const bare = address.replace(/%.*$/, '');
  return bare.includes(':') ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : bare;
}
