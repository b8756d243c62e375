/**
 * Makes this machine ready to run, build, test, demonstrate and measure cleat; runs before `npm run package|demo|test|bench`.
 *
 * Guarantees: plain JavaScript without dependencies, so it works in a fresh clone. It first checks everything that only a
 * person can change (system, root, Node, headers), and reports all of that at once, before it installs anything. Then it
 * installs missing Debian packages and npm packages, and takes Docker's client out of its package. If nothing is missing, it prints nothing.
 * Limits: Debian 12 or newer and derivatives, packages from the configured archives; it is root who can install them. It never removes
 * anything.
 *
 * Usage: node scripts/setup.mjs [--check] [--run | --build | --cross | --test | --matrix | --bench]
 *   --check   only report; exit 1 if something is missing
 *   --run     only what a built cleat needs and uses; nothing of npm
 *   --build   that, and what builds and packages it: no clang, no browser, no engines
 *   --cross   that, and what builds for arm64 on another processor
 *   --test    what --build has, and what tests and demo use; the default
 *   --matrix  that, what --cross has, and a clean Debian (scripts/matrix.mjs)
 *   --bench   what --test has, and the programs that the benchmarks compare with
 * Exit: 0 ready, 1 something is missing or could not be installed, 69 not a system we know (EX_UNAVAILABLE),
 *       77 not root and a package is missing, or root without the right to make namespaces (EX_NOPERM).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findNodeDir } from './node-headers.mjs';

const EX_MISSING = 1;
const EX_UNAVAILABLE = 69;
const EX_NOPERM = 77;
const NODE_NEEDED = [20, 19];

/** Debian packages, each with its use. What the addon is linked with comes first; the others are found when somebody asks for them. */
const RUN_PACKAGES = {
  libmnl0: 'netlink messages',
  libnftnl11: 'nftables messages',
  iproute2:
    'units of systemd make named namespaces with it; the second opinion of the kernel tests on links and addresses',
  'aardvark-dns': 'names of containers on a network',
  slirp4netns: 'uplink of rootless containers',
  passt: 'pasta, the other uplink of rootless containers',
  uidmap: 'newuidmap and newgidmap: the daemon and Podman of a plain user',
};

const BUILD_PACKAGES = {
  'g++': 'compiles the addon, the small executables, and what tests put in front of the C library',
  make: 'drives the native build',
  python3: 'node-gyp is written in it; small servers in demo and tests',
  'pkg-config': 'finds the netlink libraries',
  'libmnl-dev': 'netlink messages',
  'libnftnl-dev': 'nftables messages',
  'util-linux': 'unshare and nsenter: code caches are made, and each test file runs, in namespaces of their own',
  'dpkg-dev': 'dpkg-shlibdeps finds the libraries that the package depends on',
};

const CROSS_PACKAGES = {
  'g++-aarch64-linux-gnu': 'compiles for arm64',
  'qemu-user-static': 'runs what was compiled for arm64',
};

const TEST_PACKAGES = {
  'clang-format': 'format check of the C++ sources',
  'clang-tidy': 'judges the C++ sources',
  clang: 'compiles the fuzz targets (libFuzzer)',
  'libclang-rt-dev': 'libFuzzer and the sanitizers of clang',
  patchelf: 'has node load the library of a sanitizer, for the tests of the addon under it',
  procps: 'sysctl: tests set switches of the kernel',
  nftables: 'the second opinion of the kernel tests on rules',
  conntrack: 'tests that connections end or survive as promised',
  curl: 'talks to the socket and to published ports in demo and tests',
  git: 'a test makes a release in a repository of its own',
  jq: 'reads answers in demo',
  crun: 'the container engine of demo and tests',
  runc: 'the other OCI runtime, also of containerd, in tests',
  conmon: 'tests that the network of a container ends with it',
  podman: 'tests that the real Podman runs its containers on cleat',
  netavark: 'tests that cleat-netavark answers as netavark does, and that cleat drives it; a benchmark peer',
  iptables: 'what netavark 1.4 and the CNI plugins set rules with',
  'busybox-static': 'the image of the containers that Podman runs in tests',
  firewalld: 'tests that networks pass it; it is not started on this machine',
  'dbus-daemon': 'the buses of their own that firewalld and systemd have in tests',
  systemd:
    'busctl, which asks firewalld; systemd-analyze; the manager that a test boots; the journal that a test writes to',
  'containernetworking-plugins': 'tests that cleat works in chains with the other CNI plugins; benchmark peer',
  'etcd-server': 'the store of overlay networks in tests; it is not started on this machine',
  'etcd-client': 'the second opinion of the tests on what is in it',
  'wireguard-go': 'carries the tunnels of an overlay in tests, as on a kernel without WireGuard',
  'wireguard-tools': 'wg, with which cleat configures them',
  faketime: 'sets the clocks of daemons in tests of overlay networks',
  containerd: 'tests that its containers run on cleat as a CNI plugin; it is not started on this machine (100 MB)',
  chromium: 'the browser in which tests use the page of the inspector (290 MB)',
};

/** Packages that would start their service at once and at every boot: this machine would have another firewall, engine, or store. */
const NOT_TO_START = { firewalld: 'firewalld', containerd: 'containerd', 'etcd-server': 'etcd' };
/** systemd looks here first. A unit that leads to /dev/null is neither started nor enabled (systemd.unit(5), "masked"). */
const UNITS = '/etc/systemd/system';

/**
 * The packages of which one has Docker's client, which tests run against cleat; the first that is known. In Debian 12 the client is in
 * one package with the daemon, which would start: so the client alone is taken out, and no package is installed.
 */
const DOCKER_PACKAGES = ['docker-cli', 'docker.io'];
const DOCKER = '/usr/local/bin/docker';

const MATRIX_PACKAGES = {
  debootstrap: 'makes the clean Debian that the package is tried in',
};

const BENCH_PACKAGES = {
  socat: 'benchmark peer: a port carried by a process for each connection',
};

/** The packages of each purpose. */
const PURPOSES = {
  '--run': RUN_PACKAGES,
  '--build': { ...RUN_PACKAGES, ...BUILD_PACKAGES },
  '--cross': { ...RUN_PACKAGES, ...BUILD_PACKAGES, ...CROSS_PACKAGES },
  '--test': { ...RUN_PACKAGES, ...BUILD_PACKAGES, ...TEST_PACKAGES },
  '--matrix': { ...RUN_PACKAGES, ...BUILD_PACKAGES, ...CROSS_PACKAGES, ...TEST_PACKAGES, ...MATRIX_PACKAGES },
  '--bench': { ...RUN_PACKAGES, ...BUILD_PACKAGES, ...TEST_PACKAGES, ...BENCH_PACKAGES },
};

const args = process.argv.slice(2);
const checkOnly = args.includes('--check');
const [purpose = '--test', ...more] = args.filter((arg) => arg !== '--check');
if (PURPOSES[purpose] === undefined || more.length > 0)
  stop(EX_MISSING, [
    `unknown arguments ${args.join(' ')}; known: --check, and one of ${Object.keys(PURPOSES).join(' ')}`,
  ]);
const wanted = PURPOSES[purpose];
const builds = purpose !== '--run';
const tests = ['--test', '--matrix', '--bench'].includes(purpose);
const root = join(import.meta.dirname, '..');

demandWhatOnlyAPersonCanChange();
const debian = missingDebianPackages();
const npm = builds ? npmProblem() : undefined;
// An ordinary user runs the demo, which needs no Docker.
const docker = tests && process.getuid() === 0 && !isInPath('docker');
if (checkOnly) report();
if (debian.length > 0) installDebianPackages();
if (docker) takeDockerClient();
if (npm !== undefined) installNpmPackages();

function demandWhatOnlyAPersonCanChange() {
  const problems = [];
  let code = EX_MISSING;
  const no = (worse, text) => {
    problems.push(text);
    code = Math.max(code, worse);
  };
  if (process.platform !== 'linux') {
    stop(EX_UNAVAILABLE, [`cleat drives the Linux kernel; this is ${process.platform}. Use a Linux machine or VM.`]);
  }
  const system = osRelease();
  if (!system.isDebian) {
    no(
      EX_UNAVAILABLE,
      `this is ${system.name}; packages are only known for Debian and derivatives. ` +
        `Install the equivalents of: ${Object.keys(wanted).join(' ')}${builds ? '; then npm ci && npm run build' : ''}.`,
    );
  }
  // An ordinary user needs nothing but the packages, for the demo.
  if (process.getuid() !== 0) {
    const names = missingDebianPackages();
    if (names.length > 0)
      no(EX_NOPERM, `not root, and packages are missing: sudo npm run setup installs ${names.join(' ')}`);
  } else if (existsSync('/usr/bin/unshare') && spawnSync('/usr/bin/unshare', ['--net', '--mount', 'true']).status) {
    // Root inside a container without CAP_SYS_ADMIN looks like root until the first test.
    no(EX_NOPERM, 'root, but the kernel refuses new namespaces: in a container, start it with --privileged.');
  }
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_NEEDED[0] || (major === NODE_NEEDED[0] && minor < NODE_NEEDED[1])) {
    no(
      EX_MISSING,
      `Node ${process.versions.node} is too old: ${NODE_NEEDED.join('.')} or newer, see https://nodejs.org.`,
    );
  } else if (builds) {
    const headers = findNodeDir();
    if (headers.problem) no(EX_MISSING, headers.problem);
  }
  if (problems.length > 0) stop(code, problems);
}

function osRelease() {
  const path = ['/etc/os-release', '/usr/lib/os-release'].find(existsSync);
  const fields = {};
  for (const line of path ? readFileSync(path, 'utf8').split('\n') : []) {
    const [, key, value] = /^([A-Z_]+)=["']?(.*?)["']?$/.exec(line) ?? [];
    if (key) fields[key] = value;
  }
  const family = [fields.ID, ...(fields.ID_LIKE ?? '').split(' ')];
  return { isDebian: family.includes('debian'), name: fields.PRETTY_NAME ?? 'an unknown Linux' };
}

function missingDebianPackages() {
  const names = Object.keys(wanted);
  const format = '${Package} ${db:Status-Status}\\n';
  const { stdout, error } = spawnSync('dpkg-query', ['-W', '-f', format, ...names], { encoding: 'utf8' });
  if (error) stop(EX_UNAVAILABLE, [`dpkg-query does not run: ${error.message}`]);
  const installed = new Set(stdout.split('\n').filter((line) => line.endsWith(' installed')));
  return names.filter((name) => !installed.has(`${name} installed`));
}

/**
 * Returns the reason why node_modules does not match package-lock.json, or undefined. npm keeps a copy of what it installed in
 * node_modules/.package-lock.json; comparing contents (not times) makes a fresh checkout with old files work too.
 */
function npmProblem() {
  const read = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));
  if (!existsSync(join(root, 'node_modules/.package-lock.json'))) return 'node_modules is missing';
  const locked = read('package-lock.json').packages;
  const present = read('node_modules/.package-lock.json').packages;
  for (const [path, entry] of Object.entries(locked)) {
    if (path === '') continue;
    const found = present[path];
    // An optional package that is absent belongs to another processor or system.
    if (found === undefined && !entry.optional) return `${path} is missing`;
    if (found === undefined) continue;
    if (found.version !== entry.version || found.integrity !== entry.integrity)
      return `${path} is not ${entry.version}`;
    if (!existsSync(join(root, path))) return `${path} is missing`;
  }
  const extra = Object.keys(present).find((path) => locked[path] === undefined);
  return extra && `${extra} is not in package-lock.json`;
}

function report() {
  const lines = debian.map((name) => `Debian package ${name} is missing (${wanted[name]})`);
  if (debian.length > 0) lines.push(`get them: apt-get install --no-install-recommends ${debian.join(' ')}`);
  if (npm !== undefined) lines.push(`npm packages: ${npm}; get them: npm ci`);
  if (docker)
    lines.push(`Docker's client is missing (tests that it works with cleat); npm run setup puts it at ${DOCKER}`);
  if (lines.length > 0) stop(EX_MISSING, lines);
  process.exit(0);
}

function installDebianPackages() {
  for (const name of debian) say(`needs ${name}: ${wanted[name]}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' };
  // Another apt (unattended upgrades on a fresh machine) may hold the lock: waits for it instead of failing.
  const apt = ['-q', '-o', 'DPkg::Lock::Timeout=120'];
  updateLists();
  for (const [name, unit] of Object.entries(NOT_TO_START)) if (debian.includes(name)) mask(unit);
  say(`apt-get install ${debian.join(' ')}`);
  const install = run('apt-get', [...apt, 'install', '-y', '--no-install-recommends', ...debian], env);
  if (install.failed) {
    stop(EX_MISSING, [
      install.output,
      `apt-get could not install: ${debian.join(' ')}. All of them are in Debian 12 and Ubuntu 24.04 or newer ` +
        `(components main and universe).`,
    ]);
  }
  const still = missingDebianPackages();
  if (still.length > 0) stop(EX_MISSING, [`installed, but dpkg still does not list: ${still.join(' ')}`]);
}

/** A stale list of one archive is no reason to stop; the install shows if it matters. */
function updateLists() {
  say('apt-get update');
  run('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', 'update'], process.env);
}

function isInPath(program) {
  return (process.env.PATH ?? '').split(':').some((directory) => existsSync(join(directory, program)));
}

function takeDockerClient() {
  say("needs Docker's client: tests that it works with cleat's networks");
  if (debian.length === 0) updateLists(); // else they are new
  const known = DOCKER_PACKAGES.find((name) => !run('apt-cache', ['show', name], process.env).failed);
  if (known === undefined) stop(EX_MISSING, [`no archive has a package ${DOCKER_PACKAGES.join(' or ')}`]);
  say(`apt-get download ${known}; its client to ${DOCKER}`);
  const directory = mkdtempSync(join(tmpdir(), 'cleat-docker-'));
  const attempt = (command, ...argv) => {
    const { failed, output } = run(command, argv, process.env, directory);
    return failed ? `${output}\n${command} could not get Docker's client from package ${known}` : undefined;
  };
  const problem =
    attempt('apt-get', '-q', 'download', known) ??
    attempt('dpkg-deb', '--extract', ...readdirSync(directory), '.') ??
    attempt('install', '-m', '755', 'usr/bin/docker', DOCKER);
  rmSync(directory, { recursive: true, force: true });
  if (problem !== undefined) stop(EX_MISSING, [problem]);
}

function mask(name) {
  const unit = join(UNITS, `${name}.service`);
  if (existsSync(unit)) return;
  mkdirSync(UNITS, { recursive: true });
  symlinkSync('/dev/null', unit);
  say(`${name} is masked, so that it does not start: \`systemctl unmask ${name}\` for who wants it`);
}

function installNpmPackages() {
  say(`npm ci (${npm})`);
  const result = run('npm', ['ci', '--no-audit', '--no-fund'], process.env);
  if (result.failed) stop(EX_MISSING, [result.output, 'npm ci failed; the registry must be reachable once.']);
  const still = npmProblem();
  if (still !== undefined) stop(EX_MISSING, [`after npm ci: ${still}`]);
}

/** Runs a program to its end, silently; keeps the output for the failure report. */
function run(command, argv, env, cwd = root) {
  const result = spawnSync(command, argv, { cwd, env, encoding: 'utf8', maxBuffer: 1 << 26 });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`.trimEnd();
  return { failed: result.status !== 0, output };
}

function say(text) {
  console.log(`setup: ${text}`);
}

function stop(code, lines) {
  console.error(lines.map((line) => `setup: ${line}`).join('\n'));
  process.exit(code);
}
