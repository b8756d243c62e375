/**
 * A client for the API of gvproxy (containers/gvisor-tap-vsock), the process that listens on the host for a podman machine.
 * Lists, exposes and unexposes forwards with JSON over HTTP.
 *
 * Guarantees: a request ends within its deadline, its answer is of limited size, redirects are not followed. The caller can
 * distinguish a refusal (not done) from silence (possibly done). Written after pkg/services/forwarder/ports.go: 200 means done,
 * 500 with a text means refused; "proxy not found" and "proxy already running" are among the texts.
 * Limits: no token. gvproxy can be configured to require one, but not on the address that machines use. The API has no owners.
 *
 * Node's own http.request works over TCP and over a Unix socket. undici would be one more package, and tells less about the
 * connection: the publisher leads to our address on it.
 *
 * As Podman does (libpod/networking_machine.go), a request has the host address as the user gave it ("" as ":8080") and a
 * remote without an address: gvproxy takes the address that the request came from. Over a Unix socket it cannot, so the request
 * then has the address that gvproxy leases to its one machine.
 */
import { Agent, request, type RequestOptions } from 'node:http';
import { FaultError } from '../../state/faults.ts';

/** A forward from `local` on the host to `remote` in this machine. */
export interface Forward {
  protocol: 'tcp' | 'udp';
  local: string;
  remote: string;
}

export const keyOf = ({ protocol, local }: Pick<Forward, 'local'> & { protocol: string }): string =>
  `${protocol}/${local}`;

/** Longer than any healthy answer: gvproxy only binds a socket. */
const REQUEST_MS = 2000;

/** Enough for a list of more than 50,000 forwards; any other answer is one line. */
const LIST_LIMIT = 8 << 20;
const ANSWER_LIMIT = 64 << 10;

/** cmd/gvproxy/main.go: DHCPStaticLeases. */
const MACHINE_ADDRESS = '192.168.127.2';

/** The publisher refused, or did not answer. */
export class PublisherError extends FaultError {
  /** The publisher's answer; null if there was none, so that the request may have been done. */
  readonly refusal: string | null;
  constructor(publisher: string, refusal: string | null, why: string) {
    super('PUBLISHER_FAILED', `the publisher at ${publisher} ${why}`, { object: publisher });
    this.refusal = refusal;
  }
}

export class Gvproxy {
  readonly publisher: string;
  readonly #where: RequestOptions;
  readonly #signal: AbortSignal;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });
  #address: string | null = null;

  constructor(publisher: string, signal: AbortSignal) {
    const { protocol, hostname, port, pathname } = new URL(publisher);
    this.publisher = publisher;
    this.#signal = signal;
    if (protocol === 'unix:') {
      this.#where = { socketPath: decodeURIComponent(pathname) };
      this.#address = MACHINE_ADDRESS;
    } else {
      this.#where = { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 80 : Number(port) };
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Returns the present forwards by key, and our own address, which the connection shows. */
  async list(): Promise<{ there: Map<string, string>; address: string }> {
    const text = await this.#ask('GET', 'all', null, LIST_LIMIT);
    const there = new Map<string, string>();
    for (const entry of entriesOf(text) ?? this.#failed(null, 'lists its forwards in a way that makes no sense')) {
      there.set(keyOf(entry), entry.remote);
    }
    return { there, address: this.#address ?? this.#failed(null, 'has answered over a connection with no address') };
  }

  async expose({ protocol, local, remote }: Forward): Promise<void> {
    const to = 'socketPath' in this.#where ? remote : remote.slice(remote.lastIndexOf(':'));
    await this.#ask('POST', 'expose', { local, remote: to, protocol }, ANSWER_LIMIT);
  }

  /** Succeeds if the forward is absent already. */
  async unexpose({ protocol, local }: Forward): Promise<void> {
    try {
      await this.#ask('POST', 'unexpose', { local, protocol }, ANSWER_LIMIT);
    } catch (error) {
      if (!(error instanceof PublisherError) || error.refusal !== 'proxy not found') throw error;
    }
  }

  async #ask(method: string, what: string, body: object | null, limit: number): Promise<string> {
    const deadline = AbortSignal.timeout(REQUEST_MS);
    const signal = AbortSignal.any([this.#signal, deadline]);
    let answer: { status: number; text: string };
    try {
      answer = await this.#exchange(method, `/services/forwarder/${what}`, body, limit, signal);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return this.#failed(null, signal.aborted ? 'has not answered in time' : `does not answer: ${why}`);
    }
    const { status, text } = answer;
    if (status === 200) return text;
    const refusal = text.trim().slice(0, 300);
    return this.#failed(refusal, `refused to ${what}: ${refusal === '' ? `status ${status}` : refusal}`);
  }

  #exchange(
    method: string,
    path: string,
    body: object | null,
    limit: number,
    signal: AbortSignal,
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { accept: 'application/json', ...(body === null ? {} : { 'content-type': 'application/json' }) };
      const outgoing = request({ ...this.#where, method, path, headers, signal, agent: this.#agent }, (answer) => {
        this.#address ??= answer.socket.localAddress?.replace(/^::ffff:/, '') ?? null;
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > limit) answer.destroy(new Error(`the answer is longer than ${limit} bytes`));
        });
        answer.once('end', () => resolve({ status: answer.statusCode ?? 0, text }));
        answer.once('error', reject);
        answer.once('close', () => reject(new Error('the connection was closed in the middle of the answer')));
      });
      outgoing.once('error', reject);
      outgoing.end(body === null ? undefined : JSON.stringify(body));
    });
  }

  #failed(refusal: string | null, why: string): never {
    throw new PublisherError(this.publisher, refusal, why);
  }
}

/** Returns null if the text is not a list of forwards. */
function entriesOf(text: string): { protocol: string; local: string; remote: string }[] | null {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(list)) return null;
  const entries = list.map((entry: unknown) => {
    const { local, remote, protocol = 'tcp' } = (entry ?? {}) as Record<string, unknown>;
    if (typeof local !== 'string' || typeof remote !== 'string' || typeof protocol !== 'string') return null;
    return { local, remote, protocol };
  });
  return entries.every((entry) => entry !== null) ? entries : null;
}
