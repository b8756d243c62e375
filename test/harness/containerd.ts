/**
 * The real containerd, with a root directory and a state of its own, on the test's private view of the machine.
 *
 * Guarantees: /etc, /opt and /var/lib are overlays whose changes are in the test's /run. Cgroups of containers are below a
 * directory of this test, which `stop` removes.
 * Limits: for tests started by the test runner. No images: a container's root is the machine's own, read by a bind mount. Where
 * the machine has cgroup v1, that alone is shown, because the runtimes refuse both at once.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PLUGINS } from './cni.ts';
import { built, until } from './native.ts';

const DIRECTORY = '/run/containerd-test';
const SOCKET = `${DIRECTORY}/sock`;
const ROOTFS = `${DIRECTORY}/rootfs`;
const CGROUPS = '/sys/fs/cgroup';
const PATIENCE_MS = 60_000;

/** Lists the plugins of containerd that need hardware, programs or file systems which tests do without. */
const WITHOUT = [
  'grpc.v1.cri',
  'snapshotter.v1.btrfs',
  'snapshotter.v1.zfs',
  'snapshotter.v1.devmapper',
  'internal.v1.opt',
];

export interface CtrEnded {
  code: number | null;
  stdout: string;
  stderr: string;
}

export class Containerd {
  /** Containerd's own namespace, which names the cgroups. */
  readonly #namespace = `cleat-test-${process.pid}-${Date.now().toString(36)}`;
  readonly #env: NodeJS.ProcessEnv;
  #child: ChildProcess | null = null;

  /** `socket`: of cleat's daemon; ctr runs the plugins itself. */
  constructor(socket: string) {
    this.#env = {
      ...process.env,
      CLEAT_SOCKET: socket,
      CONTAINERD_ADDRESS: SOCKET,
      CONTAINERD_NAMESPACE: this.#namespace,
    };
  }

  async start(conflist: object): Promise<void> {
    furnish();
    writeFileSync('/etc/cni/net.d/10-test.conflist', JSON.stringify(conflist));
    const disabled_plugins = WITHOUT.map((name) => `"io.containerd.${name}"`).join(', ');
    const config = `${DIRECTORY}/config.toml`;
    writeFileSync(
      config,
      `version = 2\nroot = "${DIRECTORY}/root"\nstate = "${DIRECTORY}/state"\ndisabled_plugins = [${disabled_plugins}]\n[grpc]\naddress = "${SOCKET}"\n`,
    );
    const log = openSync(`${DIRECTORY}/log`, 'a');
    this.#child = spawn('containerd', ['-c', config], { stdio: ['ignore', log, log] });
    closeSync(log);
    await until('containerd answers', async () => (await this.ctr('version')).code === 0, PATIENCE_MS);
  }

  async stop(): Promise<void> {
    const tasks = (await this.ctr('task', 'ls', '--quiet')).stdout.split('\n').filter((id) => id !== '');
    for (const id of tasks) await this.ctr('task', 'delete', '--force', id);
    const child = this.#child;
    this.#child = null;
    if (child !== null && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    await until('the cgroups of the containers are gone', () => removeCgroups(this.#namespace), PATIENCE_MS);
  }

  log(): string {
    return readFileSync(`${DIRECTORY}/log`, 'utf8');
  }

  ctr(...args: string[]): Promise<CtrEnded> {
    const out = { stdout: '', stderr: '' };
    const child = spawn('ctr', args, { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (out.stderr += text));
    return new Promise((settle, fail) => {
      child.on('error', fail);
      // Not `close`: the shim of a container that runs on may keep the output open.
      child.on('exit', (code) => setImmediate(() => settle({ code, ...out })));
    });
  }

  /** `ctr run --cni` of a command of this machine. */
  run(id: string, flags: string[], ...command: string[]): Promise<CtrEnded> {
    return this.ctr('run', ...flags, '--cni', '--rootfs', ROOTFS, id, ...command);
  }

  /** The id that CNI plugins get for a container. */
  cniId(id: string): string {
    return `${this.#namespace}-${id}`;
  }
}

function mount(...args: string[]): void {
  execFileSync('mount', args);
}

function furnish(): void {
  if (existsSync(DIRECTORY)) return;
  mkdirSync(ROOTFS, { recursive: true });
  mount('--bind', '/', ROOTFS);
  for (const name of ['etc', 'opt', 'var/lib']) {
    const over = join(DIRECTORY, name.replace('/', '-'));
    for (const part of ['upper', 'work']) mkdirSync(join(over, part), { recursive: true });
    mount(
      '-t',
      'overlay',
      'overlay',
      '-o',
      `lowerdir=/${name},upperdir=${over}/upper,workdir=${over}/work`,
      `/${name}`,
    );
  }
  mkdirSync('/etc/cni/net.d', { recursive: true });
  mkdirSync('/opt/cni/bin', { recursive: true });
  symlinkSync(built('cleat-cni'), '/opt/cni/bin/cleat');
  for (const name of ['loopback', 'tuning']) {
    if (!existsSync(`/opt/cni/bin/${name}`)) symlinkSync(`${PLUGINS}/${name}`, `/opt/cni/bin/${name}`);
  }
  const hierarchies = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .flatMap((line) => /^[1-9]\d*:([^:]+):/.exec(line)?.[1] ?? []);
  if (hierarchies.length === 0) return;
  mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', CGROUPS);
  for (const controllers of hierarchies) {
    const at = join(CGROUPS, controllers.replace('name=', ''));
    mkdirSync(at);
    mount('-t', 'cgroup', '-o', controllers.startsWith('name=') ? `none,${controllers}` : controllers, 'cgroup', at);
  }
}

/** Removes the cgroups of containers that have ended. Returns false while one of them still has a process. */
function removeCgroups(namespace: string): boolean {
  const roots = [CGROUPS, ...readdirSync(CGROUPS).map((name) => join(CGROUPS, name))];
  const all = roots.map((root) => join(root, namespace)).filter((path) => existsSync(path));
  try {
    for (const path of all) {
      const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
      for (const { name } of below) rmdirSync(join(path, name));
      rmdirSync(path);
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false;
    throw error;
  }
}
