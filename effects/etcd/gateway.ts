/**
 * Requests to etcd v3 by the JSON gateway that each member serves beside gRPC (docs/decisions/0072).
 *
 * Guarantees: a request has a deadline, within which each member is asked once, beginning with the one that answered last. An
 * answer is complete and of limited size. A member that refuses for reasons of its own (no leader, too busy, not reachable)
 * is left for the next one; any other refusal is the caller's to judge. A request may have been carried out although no answer
 * came, so callers send only what may be sent twice.
 * Where etcd has users, a request has the token of ours (login.ts), and is sent once more when etcd does not know the token any more.
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { FaultError } from '../../state/faults.ts';
import { isRefusal, type Refusal } from './answers.ts';
import { CredentialReader, type CredentialFiles } from './credentials.ts';
import { isUnknown, Login, type LoginFiles } from './login.ts';

export interface EtcdPlaces extends CredentialFiles {
  /** http://HOST:PORT or https://HOST:PORT of each member; at least one. */
  endpoints: readonly string[];
  /** The user that the daemon is to etcd; absent if etcd has no users. */
  login?: LoginFiles;
}

/** A member that refuses with one of these may answer later, or another may: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const PASSING: ReadonlySet<number> = new Set([4, 8, 14]);

/** The deadline of a request, unless the caller has another one. Each member gets an equal part of what is left, and so much at least. */
const DEADLINE_MS = 6000;
const MEMBER_MS = 500;
const MAX_ANSWER = 16 * 1024 * 1024;

/** One request to one member. The token is empty if etcd has no users. */
interface Call {
  to: URL;
  path: string;
  body: object;
  token: string;
}

/** The reason why one member gave no answer. */
class Silence extends Error {}

export class Gateway {
  readonly #endpoints: readonly URL[];
  readonly #credentials: CredentialReader;
  readonly #agents = { 'http:': new HttpAgent({ keepAlive: true }), 'https:': new HttpsAgent({ keepAlive: true }) };
  readonly #login: Login | null;
  /** The member that answered last. */
  #at = 0;

  constructor(places: EtcdPlaces) {
    this.#endpoints = places.endpoints.map((endpoint) => new URL(endpoint));
    this.#credentials = new CredentialReader(places);
    this.#login = places.login === undefined ? null : new Login(places.login);
  }

  /** The member that answered last, or is asked next. */
  get endpoint(): string {
    return this.#member(this.#at).origin;
  }

  #member(at: number): URL {
    const endpoint = this.#endpoints[at];
    if (endpoint === undefined) throw new Error('there is no endpoint of etcd');
    return endpoint;
  }

  /** Resolves with the answer, or with etcd's refusal. Rejects with STORE_UNREACHABLE if no member gave either in time. */
  async call<Answer extends object>(
    path: string,
    body: object,
    ms = DEADLINE_MS,
  ): Promise<Answer | { refusal: Refusal }> {
    const until = performance.now() + ms;
    const login = this.#login;
    if (login === null) return this.#askAll<Answer>(path, body, until, '');
    const authenticate = (who: object) => this.#askAll<{ token?: string }>('/v3/auth/authenticate', who, until, '');
    const token = await login.token(authenticate);
    const answer = await this.#askAll<Answer>(path, body, until, token);
    if (!isRefusal(answer) || !isUnknown(answer.refusal)) return answer;
    login.forget(token);
    return this.#askAll<Answer>(path, body, until, await login.token(authenticate));
  }

  async #askAll<Answer extends object>(
    path: string,
    body: object,
    until: number,
    token: string,
  ): Promise<Answer | { refusal: Refusal }> {
    const said: string[] = [];
    const first = this.#at;
    for (let tried = 0; tried < this.#endpoints.length; tried++) {
      const left = until - performance.now();
      if (left <= 0) break;
      // Requests at the same time each go their own round: what one of them leaves, another may be asking.
      const at = (first + tried) % this.#endpoints.length;
      const endpoint = this.#member(at);
      try {
        const limit = Math.min(left, Math.max(MEMBER_MS, left / (this.#endpoints.length - tried)));
        const answer = await this.#ask<Answer>({ to: endpoint, path, body, token }, limit);
        if (tried > 0) this.#at = at;
        return answer;
      } catch (error) {
        if (!(error instanceof Silence)) throw error;
        said.push(`${endpoint.origin}: ${error.message}`);
        if (this.#at === at) this.#at = (at + 1) % this.#endpoints.length;
      }
    }
    throw new FaultError('STORE_UNREACHABLE', `no member of etcd answers: ${said.join('; ')}`);
  }

  /**
   * Sends a request whose answer goes on, line by line, until `close` is called, or it ends: then `ended` is called once. The
   * member must have a leader all the while (require-leader), or it ends the answer.
   */
  stream(path: string, body: object, hear: { line: (text: string) => void; ended: (why: string) => void }): () => void {
    let over = false;
    const end = (why: string) => {
      if (over) return;
      over = true;
      request?.destroy();
      hear.ended(why);
    };
    let request: ClientRequest | null = null;
    try {
      const call = { to: this.#member(this.#at), path, body, token: this.#login?.current ?? '' };
      request = this.#request(call, (response) => {
        if (response.statusCode !== 200) return end(`status ${response.statusCode}`);
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          const lines = (rest + part).split('\n');
          rest = lines.pop() ?? '';
          if (rest.length > MAX_ANSWER) return end('too much in one line');
          for (const line of lines) if (!over && line !== '') hear.line(line);
        });
        // A member that ends the answer says why in a line that has no newline.
        response.on('end', () => {
          if (!over && rest !== '') hear.line(rest);
        });
        response.on('error', (error) => end(error.message));
        response.on('close', () => end('the connection was closed'));
      });
      request.on('error', (error) => end(error.message));
    } catch (error) {
      queueMicrotask(() => end((error as Error).message));
    }
    return () => {
      over = true;
      request?.destroy();
    };
  }

  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  async #ask<Answer extends object>(call: Call, ms: number): Promise<Answer | { refusal: Refusal }> {
    const began = performance.now();
    try {
      return await this.#once<Answer>(call, ms);
    } catch (error) {
      // etcd has closed a connection that was idle, just when we used it.
      if (!(error instanceof Stale)) throw error;
      return this.#once<Answer>(call, ms - (performance.now() - began));
    }
  }

  #once<Answer extends object>(call: Call, ms: number): Promise<Answer | { refusal: Refusal }> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        clearTimeout(timer);
        reject(error);
        request.destroy();
      };
      const request = this.#request(call, (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          parts.push(part);
          size += part.length;
          if (size > MAX_ANSWER) fail(new Silence('the answer is too large'));
        });
        response.on('error', (error) => fail(new Silence(error.message)));
        response.on('end', () => {
          clearTimeout(timer);
          try {
            resolve(read<Answer>(Buffer.concat(parts).toString(), response.statusCode ?? 0));
          } catch (error) {
            reject(error instanceof Error ? error : new Silence(String(error)));
          }
        });
      });
      const timer = setTimeout(() => fail(new Silence(`no answer after ${Math.round(ms)} ms`)), Math.max(1, ms));
      request.on('error', (error: NodeJS.ErrnoException) => {
        const stale = request.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
        fail(stale ? new Stale() : new Silence(error.message));
      });
    });
  }

  /** Throws a FaultError if there are no certificates to connect with. */
  #request({ to, path, body, token }: Call, answered: (response: IncomingMessage) => void): ClientRequest {
    const url = new URL(path, to);
    const text = JSON.stringify(body);
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      // gRPC's metadata: the member refuses while it knows no leader, instead of answering from the past.
      'grpc-metadata-hasleader': 'true',
      ...(token === '' ? {} : { authorization: token }),
    };
    const options = { method: 'POST', headers };
    const request =
      url.protocol === 'https:'
        ? httpsRequest(url, { ...options, ...this.#credentials.read(), agent: this.#agents['https:'] }, answered)
        : httpRequest(url, { ...options, agent: this.#agents['http:'] }, answered);
    request.setSocketKeepAlive(true, 5000);
    request.end(text);
    return request;
  }
}

class Stale extends Error {}

/** Throws a Silence for a refusal that another member need not share. */
function read<Answer extends object>(text: string, status: number): Answer | { refusal: Refusal } {
  let answer: { error?: string | { message?: string; grpc_code?: number }; message?: string; code?: number };
  try {
    answer = JSON.parse(text) as typeof answer;
    if (typeof answer !== 'object' || answer === null) throw new Error('no object');
  } catch {
    throw new Silence(`status ${status}, and no answer of etcd's`);
  }
  const { error, code, message } = answer;
  if (error === undefined && status === 200) return answer as Answer;
  const refusal =
    typeof error === 'object'
      ? { code: error.grpc_code ?? code ?? 2, message: error.message ?? `status ${status}` }
      : { code: code ?? 2, message: message ?? error ?? `status ${status}` };
  if (PASSING.has(refusal.code) || status >= 500) throw new Silence(refusal.message);
  return { refusal };
}
