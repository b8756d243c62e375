/**
 * A stand-in for gvproxy: the part of its API that forwards ports, answering as its handlers do.
 *
 * Guarantees: status codes and bodies are those of containers/gvisor-tap-vsock, pkg/services/forwarder/ports.go,
 * written again here; the sockets of the forwards are really bound, so that a port in use is refused as by the real
 * one.
 * Limits: the real gvproxy was not run, because it is not packaged where these tests run. Nothing is passed on to the
 * machine. `behave` makes it misbehave as a real server may: hang, close, answer nonsense.
 */
import { createSocket, type Socket } from 'node:dgram';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';

export type Behaviour = 'well' | 'hang' | 'close' | 'half' | 'garbage' | 'strange' | 'endless' | 'redirect';

interface Proxy {
  local: string;
  remote: string;
  protocol: string;
  close(): Promise<void>;
}

interface Asked {
  local?: unknown;
  remote?: unknown;
  protocol?: unknown;
}

export class FakeGvproxy {
  behave: Behaviour = 'well';
  /** Returns its behaviour for some requests alone. */
  misbehave: ((path: string, asked: Asked) => Behaviour | Promise<Behaviour>) | null = null;
  /** Paths and locals, in the order of the requests: "expose :8080". */
  requests: string[] = [];
  readonly #path: string | null;
  #port = 0;
  #server: Server | null = null;
  readonly #proxies = new Map<string, Proxy>();

  /** Over TCP, or on the Unix socket at `path`. */
  constructor(path: string | null = null) {
    this.#path = path;
  }

  get url(): string {
    return this.#path === null ? `http://127.0.0.1:${this.#port}` : `unix://${this.#path}`;
  }

  async start(): Promise<this> {
    const server = createServer((request, response) => void this.#answer(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if (this.#path === null) server.listen(this.#port, '127.0.0.1', resolve);
      else server.listen(this.#path, resolve);
    });
    if (this.#path === null) this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  /** Its forwards end with it, as with a process. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    if (server !== null) await new Promise((resolve) => server.close(resolve));
    for (const proxy of this.#proxies.values()) await proxy.close();
    this.#proxies.clear();
  }

  /** Its forwards: "tcp :8080 192.168.127.2:8080". */
  get forwards(): string[] {
    return [...this.#proxies.values()].map(({ protocol, local, remote }) => `${protocol} ${local} ${remote}`).sort();
  }

  /** Adds a forward of another program. */
  async have(protocol: string, local: string, remote: string): Promise<void> {
    const refusal = await this.#expose(protocol, local, remote);
    if (refusal !== null) throw new Error(refusal);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk as string;
    const path = (request.url ?? '').replace('/services/forwarder/', '');
    let asked: Asked = {};
    try {
      asked = JSON.parse(body) as Asked;
    } catch {
      // reported below, in Go's words
    }
    this.requests.push(`${path} ${typeof asked.local === 'string' ? asked.local : ''}`.trim());
    const behaviour = (await this.misbehave?.(path, asked)) ?? this.behave;
    if (behaviour !== 'well') return this.#misbehave(behaviour, request, response);
    const refuse = (status: number, text: string) => {
      // http.Error() of net/http
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' };
      response.writeHead(status, headers).end(`${text}\n`);
    };
    if (!(request.url ?? '').startsWith('/services/forwarder/') || !['all', 'expose', 'unexpose'].includes(path)) {
      return refuse(404, '404 page not found');
    }
    if (path === 'all') {
      const all = [...this.#proxies.values()].sort((a, b) => (a.local < b.local ? -1 : a.local > b.local ? 1 : 0));
      const list = all.map(({ local, remote, protocol }) => ({ local, remote, protocol }));
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(`${JSON.stringify(list)}\n`);
      return;
    }
    if (request.method !== 'POST') return refuse(400, 'post only');
    if (body === '') return refuse(400, 'EOF');
    const { local, remote = '', protocol = 'tcp' } = asked;
    if (typeof local !== 'string' || typeof remote !== 'string' || typeof protocol !== 'string') {
      return refuse(400, 'json: cannot unmarshal into Go struct field ExposeRequest of type string');
    }
    if (path === 'unexpose') {
      const proxy = this.#proxies.get(`${protocol}/${local}`);
      if (proxy === undefined) return refuse(500, 'proxy not found');
      this.#proxies.delete(`${protocol}/${local}`);
      await proxy.close();
      response.writeHead(200).end();
      return;
    }
    // remote(): without an address, the one that the request came from. A Unix socket has none: "@".
    const colon = remote.lastIndexOf(':');
    if (colon < 0) return refuse(400, `address ${remote}: missing port in address`);
    let to = remote;
    if (colon === 0) {
      if (this.#path !== null) return refuse(400, 'address @: missing port in address');
      to = `${request.socket.remoteAddress?.replace(/^::ffff:/, '')}${remote}`;
    }
    const refusal = await this.#expose(protocol, local, to);
    if (refusal !== null) return refuse(500, refusal);
    response.writeHead(200).end();
  }

  /** Returns null, or Go's error. */
  async #expose(protocol: string, local: string, remote: string): Promise<string | null> {
    if (this.#proxies.has(`${protocol}/${local}`)) return `proxy already running for ${protocol} on ${local}`;
    if (protocol !== 'tcp' && protocol !== 'udp') return `unknown protocol ${protocol}`;
    if (remote.split(':').length !== 2) return 'invalid remote addr';
    const [, bracketed, plain, port] = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(local) ?? [];
    if (port === undefined) return `address ${local}: missing port in address`;
    const host = bracketed ?? plain ?? '';
    try {
      const close = await (protocol === 'tcp' ? bindTcp : bindUdp)(host === '' ? '::' : host, Number(port));
      this.#proxies.set(`${protocol}/${local}`, { protocol, local, remote, close });
      return null;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const why = code === 'EADDRINUSE' ? 'address already in use' : "can't assign requested address";
      return `listen ${protocol} ${local}: bind: ${why}`;
    }
  }

  #misbehave(behaviour: Exclude<Behaviour, 'well'>, request: IncomingMessage, response: ServerResponse): void {
    if (behaviour === 'close') request.socket.destroy();
    if (behaviour === 'half') {
      response.writeHead(200, { 'content-length': 100 }).write('[');
      setImmediate(() => request.socket.destroy());
    }
    if (behaviour === 'garbage') response.end('<html>It works!</html>');
    if (behaviour === 'strange') response.end('[{"local":8080},null]');
    if (behaviour === 'redirect') response.writeHead(302, { location: `${this.url}/elsewhere` }).end();
    if (behaviour === 'endless') {
      const more = () => {
        while (response.write('['.repeat(1 << 20)) && !response.destroyed);
      };
      response.on('drain', more).on('error', () => {});
      more();
    }
  }
}

async function bindTcp(host: string, port: number): Promise<() => Promise<void>> {
  const server = createTcpServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen({ host, port }, resolve));
  return () => new Promise((resolve) => server.close(() => resolve()));
}

async function bindUdp(host: string, port: number): Promise<() => Promise<void>> {
  const socket: Socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve, reject) => socket.once('error', reject).bind(port, host, resolve));
  return () => new Promise((resolve) => socket.close(() => resolve()));
}
