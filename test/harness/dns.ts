/**
 * The queries and servers of resolver tests: queries from a container's namespace, and a server of the world that
 * records the queries that reach it.
 *
 * Guarantees: a missing answer is queried again, as any stub resolver does: aardvark-dns 1.4 drops queries while it
 * reads names that others have brought. A packet has at most one answer. The world answers A with an address of its own
 * choice and everything else with nothing; it knows no name without a dot, nor that of a host called nobody.
 * Limits: UDP.
 */
import { randomInt } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { decode, encode, RECURSION_DESIRED, RECURSION_AVAILABLE, type RecordType } from 'dns-packet';
import type { Outside } from '../../native/index.ts';
import { commandLines } from './native.ts';

const SILENCE = 'silence';
const TRIES = 5;
/** RFC 1035, 4.1.1. */
const NXDOMAIN = 3;

/** "NOERROR 10.89.0.2 10.89.0.3" (sorted), "NXDOMAIN", or "silence". */
export async function dig(...question: Parameters<typeof ask>): Promise<string> {
  for (let n = 1; n < TRIES; n++) {
    const answer = await ask(...question);
    if (answer !== SILENCE) return answer;
  }
  return ask(...question);
}

async function ask(
  outside: Outside,
  netns: string | undefined,
  server: string,
  name: string,
  type: RecordType = 'A',
): Promise<string> {
  const v6 = server.includes(':');
  const fd = await outside.udpSocket(v6 ? 6 : 4, netns);
  const socket = createSocket(v6 ? 'udp6' : 'udp4');
  await new Promise<void>((bound) => socket.bind({ fd }, bound));
  try {
    const signal = AbortSignal.timeout(400);
    const id = randomInt(0x1_0000);
    socket.send(encode({ type: 'query', id, flags: RECURSION_DESIRED, questions: [{ name, type }] }), 53, server);
    let message: Buffer;
    // The port may have been another query's a moment ago, whose answer comes late.
    do [message] = (await once(socket, 'message', { signal })) as [Buffer];
    while (decode(message).id !== id);
    const { rcode, answers } = decode(message) as ReturnType<typeof decode> & { rcode: string };
    const values = (answers ?? []).map((record) =>
      'data' in record && typeof record.data === 'string' ? record.data : '',
    );
    return [rcode, ...values.sort()].join(' ');
  } catch {
    return SILENCE;
  } finally {
    socket.close();
  }
}

const isKnown = (name: string) => name.includes('.') && !name.startsWith('nobody.');

export class Upstream {
  /** "example.com A", in the order they came. */
  readonly asked: string[] = [];
  readonly #socket: Socket;

  constructor(socket: Socket, says: string) {
    this.#socket = socket;
    socket.on('message', (message, { address, port }) => {
      const { id, questions = [] } = decode(message);
      for (const { name, type } of questions) this.asked.push(`${name} ${type}`);
      const answers = questions
        .filter(({ name, type }) => type === 'A' && isKnown(name))
        .map(({ name }) => ({ type: 'A' as const, name, ttl: 5, data: says }));
      const known = questions.every(({ name }) => isKnown(name));
      const flags = RECURSION_DESIRED | RECURSION_AVAILABLE | (known ? 0 : NXDOMAIN);
      socket.send(encode({ type: 'response', id: id ?? 0, flags, questions, answers }), port, address);
    });
  }

  static async at(address: string, says: string): Promise<Upstream> {
    const socket = createSocket('udp4');
    await new Promise<void>((listening) => socket.bind(53, address, listening));
    return new Upstream(socket, says);
  }

  close(): void {
    this.#socket.close();
  }
}

/** Pids of the DNS servers whose configuration lies below a directory. */
export function resolversIn(directory: string): number[] {
  return [...commandLines()]
    .filter(([, words]) => ['aardvark-dns', directory].every((text) => words.some((word) => word.includes(text))))
    .map(([pid]) => pid);
}
