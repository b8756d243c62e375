/**
 * The real Podman, rootful, on directories of its own, with cleat-netavark where netavark would be; and an image of busybox.
 *
 * Guarantees: nothing of the machine's containers is seen or touched. Podman and its cleanup by conmon, which has a bare
 * environment, find the daemon where it usually is. Containers have no cgroups, which a test's own namespaces do not have either.
 * Limits: for tests started by the test runner, in mount namespaces of their own: /etc/containers is covered.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, type Ended } from '../hook/run.ts';
import { NETAVARK } from './netavark.ts';

export const IMAGE = 'localhost/busybox:1';
const SYSTEM = '/etc/containers';
/** The directory in which the daemon's socket usually is. */
export const USUAL = '/run/cleat';

export class Podman {
  readonly directory: string;
  readonly #argv: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;

  /** `netavark`: the program that gives containers their network. */
  constructor(netavark = NETAVARK) {
    const directory = mkdtempSync('/run/podman-');
    this.directory = directory;
    const at = (name: string) => join(directory, name);
    for (const name of ['root', 'run', 'tmp', 'networks', 'helpers']) mkdirSync(at(name));
    symlinkSync(netavark, at('helpers/netavark'));
    symlinkSync('/usr/lib/podman/aardvark-dns', at('helpers/aardvark-dns'));
    writeFileSync(
      at('containers.conf'),
      `[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
helper_binaries_dir = ["${at('helpers')}"]
runtime = "crun"
[network]
network_backend = "netavark"
network_config_dir = "${at('networks')}"
`,
    );
    mkdirSync(SYSTEM, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', 'containers', SYSTEM]);
    writeFileSync(join(SYSTEM, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    const places = ['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp')];
    this.#argv = [...places, '--storage-driver', 'vfs'];
    this.#environment = { CONTAINERS_CONF: at('containers.conf'), HOME: directory };
  }

  /** Makes the image. */
  async importImage(): Promise<void> {
    const files = join(this.directory, 'image');
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'run'])
      mkdirSync(join(files, name), { recursive: true });
    cpSync('/bin/busybox', join(files, 'bin/busybox'));
    const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).split('\n');
    for (const name of applets.filter((one) => one !== '' && one !== 'busybox'))
      symlinkSync('busybox', join(files, 'bin', name));
    writeFileSync(join(files, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\n');
    const tar = join(this.directory, 'image.tar');
    execFileSync('tar', ['-C', files, '-cf', tar, '.']);
    await this.do('import', tar, IMAGE);
  }

  run(...args: string[]): Promise<Ended> {
    return run('podman', [...this.#argv, ...args], '', this.#environment);
  }

  /** Rejects when it fails; resolves with what it prints. */
  async do(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`podman ${args.join(' ')}: ${code} ${stdout} ${stderr}`);
    return stdout.trim();
  }

  /** Runs a container in the background. Its output is not kept, so that nothing waits for its end. */
  start(name: string, ...args: string[]): Promise<string> {
    return this.do('run', '--detach', '--log-driver', 'none', '--name', name, ...args);
  }

  async inspect<T>(format: string, name: string): Promise<T> {
    return JSON.parse(await this.do('inspect', '--format', `{{json ${format}}}`, name)) as T;
  }
}
