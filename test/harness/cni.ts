/**
 * A CNI runtime for tests: runs plugins and lists of them as libcni does.
 *
 * Guarantees: what one plugin answers is `prevResult` of the next; DEL runs in the reverse order with the last result; each
 * plugin gets only the capabilities that it declares.
 * Limits: results are kept by who calls, not in a cache on disk.
 */
import { spawn } from 'node:child_process';
import type { CniError, CniResult } from '../../state/answers/cni.ts';
import { built } from './native.ts';

/** The folder of containernetworking-plugins. */
export const PLUGINS = '/usr/lib/cni';

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export type Variables = Partial<Record<`CNI_${string}`, string>>;

/** Runs one plugin. `socket`: of the daemon; `input` that is no text is sent as JSON. */
export function plugin(type: string, socket: string, env: Variables, input: unknown): Promise<Ran> {
  const path = type === 'cleat' ? built('cleat-cni') : `${PLUGINS}/${type}`;
  const all = { PATH: process.env.PATH, CLEAT_SOCKET: socket, CNI_PATH: PLUGINS, ...env };
  const child = spawn(path, [], { env: all });
  const out = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => (out[name] += text));
  }
  child.stdin.on('error', () => {}); // it may end without having read everything
  child.stdin.end(typeof input === 'string' || Buffer.isBuffer(input) ? input : JSON.stringify(input));
  return new Promise((settle, fail) => {
    child.on('error', fail);
    child.on('close', (code) => settle({ code, ...out }));
  });
}

export interface List {
  cniVersion: string;
  name: string;
  plugins: (Record<string, unknown> & { type: string; capabilities?: Record<string, boolean> })[];
}

export interface Place {
  id: string;
  netns: string;
  ifname?: string;
  args?: string;
  capabilities?: Record<string, unknown>;
}

export class CniRuntime {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Runs the plugin of cleat alone. */
  cleat(command: string, place: Partial<Place>, config: unknown): Promise<Ran> {
    return plugin('cleat', this.#socket, variables(command, place), config);
  }

  /** ADD of one configuration with cleat, which must succeed. */
  async added(place: Place, config: object): Promise<CniResult> {
    const { code, stdout, stderr } = await this.cleat('ADD', place, config);
    if (code !== 0 || stderr !== '') throw new Error(`ADD of ${place.id}: ${stdout}${stderr}`);
    return JSON.parse(stdout) as CniResult;
  }

  /** A command that must succeed and say nothing. */
  async done(command: string, place: Partial<Place>, config: object): Promise<void> {
    const { code, stdout, stderr } = await this.cleat(command, place, config);
    if (code !== 0 || stdout !== '' || stderr !== '') throw new Error(`${command} of ${place.id}: ${stdout}${stderr}`);
  }

  /** A command that must fail; returns the error. */
  async refused(command: string, place: Partial<Place>, config: unknown): Promise<CniError> {
    const { code, stdout, stderr } = await this.cleat(command, place, config);
    if (code !== 1 || stderr !== '')
      throw new Error(`${command} of ${place.id} ended with ${code}: ${stdout}${stderr}`);
    return JSON.parse(stdout) as CniError;
  }

  /** ADD of a list. Resolves with the last result. */
  async addList(place: Place, list: List): Promise<CniResult> {
    let result: CniResult | undefined;
    for (const one of list.plugins) result = (await this.#step('ADD', place, list, one, result)) as CniResult;
    if (result === undefined) throw new Error('a list of no plugins');
    return result;
  }

  async checkList(place: Place, list: List, result: CniResult): Promise<void> {
    for (const one of list.plugins) await this.#step('CHECK', place, list, one, result);
  }

  async delList(place: Place, list: List, result?: CniResult): Promise<void> {
    for (const one of list.plugins.toReversed()) await this.#step('DEL', place, list, one, result);
  }

  async #step(command: string, place: Place, list: List, one: List['plugins'][number], prevResult?: object) {
    const { cniVersion, name } = list;
    const wanted = Object.entries(place.capabilities ?? {}).filter(([key]) => one.capabilities?.[key] === true);
    const runtimeConfig = wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) };
    const config = { cniVersion, name, ...one, ...runtimeConfig, ...(prevResult === undefined ? {} : { prevResult }) };
    const ran = await plugin(one.type, this.#socket, variables(command, place), config);
    if (ran.code !== 0) throw new Error(`${command} of ${one.type}: ${ran.stdout}${ran.stderr}`);
    return ran.stdout === '' ? undefined : (JSON.parse(ran.stdout) as object);
  }
}

function variables(command: string, { id, netns, ifname = 'eth0', args }: Partial<Place>): Variables {
  return {
    CNI_COMMAND: command,
    CNI_IFNAME: ifname,
    ...(id === undefined ? {} : { CNI_CONTAINERID: id }),
    ...(netns === undefined ? {} : { CNI_NETNS: netns }),
    ...(args === undefined ? {} : { CNI_ARGS: args }),
  };
}
