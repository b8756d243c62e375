/**
 * The real firewalld of this machine's package, with a message bus of its own, in the test's namespaces.
 *
 * Guarantees: configuration, log and bus are below /run, which is the test's own: nothing of the machine's is read or
 * written. start() resolves when firewalld works. It authorises everything (there is no polkit on this bus): root.
 * Limits: one at a time. Its helpers that load kernel modules fail where there are none, which it accepts.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const HOME = '/run/test-firewalld';
const SOCKET = '/run/dbus/system_bus_socket';
const NAME = 'org.fedoraproject.FirewallD1';
const PATH = '/org/fedoraproject/FirewallD1';
const START_LIMIT_MS = 20_000;

const BUS = `<busconfig>
  <type>system</type>
  <listen>unix:path=${SOCKET}</listen>
  <policy context="default"><allow user="root"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
`;

export type Zones = Record<string, { interfaces?: string[]; sources?: string[] }>;

export class Firewalld {
  #bus: ChildProcess | null = null;
  #daemon: ChildProcess | null = null;

  /** `zone`: the default one, for interfaces that are in no other. */
  constructor(zone: string) {
    mkdirSync(`${HOME}/zones`, { recursive: true });
    mkdirSync('/run/dbus', { recursive: true });
    writeFileSync(`${HOME}/firewalld.conf`, `DefaultZone=${zone}\nFirewallBackend=nftables\n`);
    writeFileSync(`${HOME}/bus.conf`, BUS);
  }

  get pid(): number {
    return this.#daemon?.pid ?? 0;
  }

  async start(): Promise<void> {
    const limit = performance.now() + START_LIMIT_MS;
    const patient = async (done: () => boolean, what: string) => {
      while (!done()) {
        if (performance.now() > limit) throw new Error(`${what} has not started`);
        await sleep(20);
      }
    };
    if (this.#bus === null) {
      rmSync(SOCKET, { force: true });
      this.#bus = spawn('dbus-daemon', [`--config-file=${HOME}/bus.conf`, '--nofork', '--nopidfile'], {
        stdio: 'ignore',
      });
      await patient(() => existsSync(SOCKET), 'dbus-daemon');
    }
    const options = ['--nofork', '--nopid', `--system-config=${HOME}`, '--log-target=file', `--log-file=${HOME}/log`];
    this.#daemon = spawn('/usr/sbin/firewalld', options, { stdio: 'ignore' });
    await patient(() => this.#state() === 'RUNNING', 'firewalld');
  }

  #state(): unknown {
    try {
      return JSON.parse(busctl('get-property', NAME, PATH, NAME, 'state')).data;
    } catch {
      return null;
    }
  }

  /** Acts as `systemctl stop`: firewalld removes its rules. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = null;
    if (daemon === null) return;
    const gone = once(daemon, 'exit');
    daemon.kill(signal);
    await gone;
  }

  /** Acts as `firewall-cmd --reload`. */
  reload(): void {
    busctl('call', NAME, PATH, NAME, 'reload');
  }

  /** Stops it: it accepts no requests, and finishes nothing that it has begun. */
  pause(): void {
    this.#daemon?.kill('SIGSTOP');
  }

  resume(): void {
    this.#daemon?.kill('SIGCONT');
  }

  /** Changes the runtime configuration: `add` or `remove` an interface or a source. */
  change(verb: 'add' | 'remove', kind: 'Interface' | 'Source', zone: string, what: string): void {
    busctl('call', NAME, PATH, `${NAME}.zone`, `${verb}${kind}`, 'ss', zone, what);
  }

  /** Changes the permanent configuration alone. */
  permanently(verb: 'add' | 'remove', kind: 'Interface' | 'Source', zone: string, what: string): void {
    const path = JSON.parse(busctl('call', NAME, `${PATH}/config`, `${NAME}.config`, 'getZoneByName', 's', zone))
      .data[0];
    busctl('call', NAME, path, `${NAME}.config.zone`, `${verb}${kind}`, 's', what);
  }

  /** The zones of the runtime configuration that have interfaces or sources. */
  zones(): Zones {
    return JSON.parse(busctl('call', NAME, PATH, `${NAME}.zone`, 'getActiveZones')).data[0] as Zones;
  }

  async end(): Promise<void> {
    this.resume();
    await this.stop();
    this.#bus?.kill();
    this.#bus = null;
  }
}

const busctl = (...words: string[]): string =>
  execFileSync('busctl', ['--system', '--json=short', ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
