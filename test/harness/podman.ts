/**
 * The real Podman, rootful or a plain user's, on directories of its own, with cleat-netavark where netavark would be; and an image of busybox.
 *
 * Guarantees: nothing of the machine's containers is seen or touched. Podman and its cleanup by conmon, which has a bare
 * environment, find the daemon where it usually is. Containers have no cgroups, which a test's own namespaces do not have either.
 * Limits: for tests started by the test runner, in mount namespaces of their own: /etc/containers and /mnt are covered.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { run, type Ended } from '../hook/run.ts';
import { NETAVARK } from './netavark.ts';

export const IMAGE = 'localhost/busybox:1';
const SYSTEM = '/etc/containers';
const PLACE = '/mnt';
/** True when these two are covered. */
let covered = false;
/** The directory in which the daemon's socket usually is. */
export const USUAL = '/run/cleat';

/** The user who runs Podman without root, unless another one is asked for. */
const USER = 2000;
/** The first of the ids that a user's containers have. */
const subordinateOf = (uid: number): number => (uid - USER + 3) * 100_000;

export class Podman {
  readonly directory: string;
  readonly #argv: readonly string[];
  readonly #environment: NodeJS.ProcessEnv;

  /** `netavark`: the program that gives containers their network. `rootless`: as user `uid`, who has to be made first. */
  constructor({ netavark = NETAVARK, rootless = false, uid = USER } = {}) {
    // Not below /run, of which Podman's helpers see a part only when a plain user runs it.
    if (!covered) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'podman', PLACE]);
      mkdirSync(SYSTEM, { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'containers', SYSTEM]);
      writeFileSync(join(SYSTEM, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
    }
    covered = true;
    const directory = mkdtempSync(join(PLACE, 'podman-'));
    this.directory = directory;
    const at = (name: string) => join(directory, name);
    for (const name of ['root', 'run', 'tmp', 'networks', 'helpers', 'home', 'runtime']) mkdirSync(at(name));
    symlinkSync(netavark, at('helpers/netavark'));
    symlinkSync('/usr/lib/podman/aardvark-dns', at('helpers/aardvark-dns'));
    writeFileSync(
      at('containers.conf'),
      `[containers]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
helper_binaries_dir = ["${at('helpers')}", "/usr/lib/podman"]
runtime = "crun"
[network]
network_backend = "netavark"
${rootless ? '' : `network_config_dir = "${at('networks')}"`}
`,
    );
    this.#environment = { CONTAINERS_CONF: at('containers.conf'), HOME: at('home') };
    const places = ['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp'), '--storage-driver', 'vfs'];
    if (!rootless) this.#argv = ['podman', ...places];
    else this.#argv = this.#becomeUser(uid);
  }

  /** Makes the user, and returns the command by which this user runs Podman. */
  #becomeUser(uid: number): string[] {
    const at = (name: string) => join(this.directory, name);
    const name = `user${uid}`;
    const subordinate = `${name}:${subordinateOf(uid)}:65536\n`;
    const lines = { passwd: `${name}:x:${uid}:${uid}::${at('home')}:/bin/sh\n`, group: `${name}:x:${uid}:\n` };
    for (const [file, line] of Object.entries({ ...lines, subuid: subordinate, subgid: subordinate })) {
      cpSync(`/etc/${file}`, at(file));
      appendFileSync(at(file), line);
      execFileSync('mount', ['--bind', at(file), `/etc/${file}`]);
    }
    // The machine's may be root's alone.
    execFileSync('mknod', ['-m', '666', at('tun'), 'c', '10', '200']);
    execFileSync('mount', ['--bind', at('tun'), '/dev/net/tun']);
    // Where pam_systemd(8) makes it.
    const runtime = `/run/user/${uid}`;
    mkdirSync(runtime, { recursive: true });
    chmodSync(this.directory, 0o755);
    for (const path of [runtime, at('home'), this.directory]) chownSync(path, uid, uid);
    chmodSync(runtime, 0o700);
    Object.assign(this.#environment, { XDG_RUNTIME_DIR: runtime, USER: name, LOGNAME: name });
    return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', 'podman', '--storage-driver', 'vfs'];
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
    const [program = '', ...before] = this.#argv;
    return run(program, [...before, ...args], '', this.#environment);
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
