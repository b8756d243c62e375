/**
 * The ground of fault tests: a daemon whose calls can be made to fail, two networks, a witness that must not be
 * affected (or none), and the life of a container with every verb in it.
 *
 * Guarantees: `go` prints what it tried and reports it; in the end the witness is as it was, inside and outside.
 */
import * as assert from 'uvu/assert';
import type { NetworkRequest } from '../../state/network.ts';
import { on, port, TestDaemon } from './daemon.ts';
import { event, FaultTest, type Step } from './fault-test.ts';
import { Faults, type Strike } from './faults.ts';
import { calm, inside } from './picture.ts';
import { proved } from './proof.ts';

const id = 'life';

/** The network ends as it began: each update is undone by the one after it. */
const update = (mtu: string, undoes: boolean): Step => ({
  name: `update ${mtu}`,
  method: 'PATCH',
  path: '/v1/networks/front',
  body: { options: { mtu } },
  moot: [],
  undoes,
});
const ports = [port(8081, 80), port(8082, 53, { protocol: 'udp' })];
export const LIFE: readonly Step[] = [
  {
    name: 'network create',
    method: 'POST',
    path: '/v1/networks',
    body: { name: 'brief', dns_enabled: false },
    moot: [],
  },
  { name: 'network rm', method: 'DELETE', path: '/v1/networks/brief', moot: ['NO_SUCH_NETWORK'], undoes: true },
  event({ type: 'create', id, networks: on('front'), port_mappings: ports }),
  event({ type: 'configure', id }),
  event({ type: 'connect', id, network: 'back' }),
  event({ type: 'publish', id, port_mappings: [port(8083, 83)] }),
  event({ type: 'reload', id }),
  event({ type: 'reload', id, full: true }),
  update('1400', false),
  update('1500', true),
  event({ type: 'unpublish', id, port_mappings: [port(8083, 83)] }),
  event({ type: 'disconnect', id, network: 'front' }, 'NOT_CONNECTED'),
  event({ type: 'teardown', id }, 'NO_SUCH_CONTAINER'),
];

export class FaultLife {
  readonly daemon = new TestDaemon();
  readonly faults = new Faults(this.daemon);
  #test: FaultTest | null = null;
  #witness = '';
  #before = '';

  /** Starts without a witness: shared objects are first raised in the life, and its container is their last user. */
  async startAlone(): Promise<void> {
    await this.daemon.start();
    await this.daemon.network({ name: 'front', options: { mtu: '1500' } });
    await this.daemon.network({ name: 'back', ipv6_enabled: true });
    this.again();
  }

  /** With these networks too. */
  async start(...networks: NetworkRequest[]): Promise<void> {
    await this.startAlone();
    const { netns } = await this.daemon.up('witness', { networks: on('back'), port_mappings: [port(9090, 90)] });
    for (const network of networks) await this.daemon.network(network);
    this.#witness = netns.path ?? '';
    await calm(this.#witness);
    this.#before = this.#look();
    this.again();
  }

  /** The state that must hold after each run is the present one. */
  again(): void {
    this.#test = new FaultTest(this.daemon, this.faults, id);
  }

  async go(what: string, strikes: readonly Strike[], stride: number, steps = LIFE, mayEnd?: RegExp): Promise<void> {
    assert.ok(this.#test);
    const started = performance.now();
    const { runs, refused, ended } = await this.#test.run(steps, strikes, stride, mayEnd);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const codes = [...refused].map(([code, count]) => `${count} ${code}`).join(', ') || 'none';
    console.log(
      `  ${runs} ${what} in ${seconds} s; answers that were faults: ${codes}; the daemon ended ${ended} times`,
    );
    assert.is(this.#look(), this.#before, 'the witness is as it was');
    proved(what, runs);
  }

  async stop(): Promise<void> {
    await this.daemon.kill();
  }

  #look(): string {
    if (this.#witness === '') return '';
    return inside(this.#witness, 'sh', '-c', 'ip -o address; ip -4 route show table all; ip -6 route show table all');
  }
}
