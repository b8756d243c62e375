/**
 * The real systemd of this machine's package, booted in namespaces of the test's own, with the test as a service of it.
 *
 * Guarantees: the manager sees units of the test's alone, no generators, and a cgroup of the test's own as the root of all. What it
 * would set for the whole machine at a boot (limits in /proc/sys) is read-only for it. `booted` returns in the service alone; outside
 * of it, it boots, prints what the test prints, removes the cgroup and exits as the test does.
 * Limits: no udev, journal, logind or PAM: a user's manager is a service with the usual name and rights, and a session is a scope with
 * the usual name. For tests started by the test runner.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestUser } from './rootless.ts';

const HOME = '/run/test-boot';
/** Where the managers find units: those of a test's own, after `systemctl daemon-reload`. */
export const UNITS = `${HOME}/units`;
export const USER_UNITS = `${HOME}/user-units`;
const OUTPUT = `${HOME}/output`;
const CODE = `${HOME}/code`;
const BUS = '/run/dbus/system_bus_socket';
const MANAGER = '/lib/systemd/systemd';
const CGROUPS = '/sys/fs/cgroup';

/** A user's manager has the system's take processes out of a session, over this bus. */
const BUS_CONFIG = `<busconfig>
  <type>system</type>
  <listen>unix:path=${BUS}</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
`;

const UNIT = '[Unit]\nDefaultDependencies=no\n';
/** What units depend on by default, or are wanted by. */
const TARGETS = ['sysinit', 'basic', 'sockets', 'multi-user', 'default', 'shutdown'].map((name) => `${name}.target`);

/** Before the manager starts: a root of cgroups, and a /proc, of its own, and mounts that services see, as after every boot. */
const PRELUDE = `
set -e
mount --make-rshared /
umount -R ${CGROUPS}
mount -t cgroup2 cgroup2 ${CGROUPS}
mount -t proc proc /proc
mount -o bind,ro /proc/sys /proc/sys
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$1" \
  SYSTEMD_GENERATOR_PATH= SYSTEMD_ENVIRONMENT_GENERATOR_PATH= \
  ${MANAGER} --system --unit=test.target --log-target=console --log-level=warning --show-status=no
`;

/** The manager also finds units in `directories`, if the test has some made there. */
export async function booted(file: string, directories: readonly string[] = []): Promise<void> {
  if (process.env['TEST_BOOTED'] === '1') {
    execFileSync('umount', ['/proc/sys']);
    return;
  }
  makeUnits(file);
  const cgroup = `${CGROUPS}/cleat-test-${process.pid}-${Date.now()}`;
  mkdirSync(cgroup);
  const enter = `echo $$ >${cgroup}/cgroup.procs; exec "$@"`;
  const namespaces = ['unshare', '--cgroup', '--pid', '--fork', '--kill-child', '--mount', '--uts'];
  const path = [UNITS, ...directories].join(':');
  const words = ['-c', enter, 'sh', ...namespaces, 'sh', '-c', PRELUDE, 'sh', path];
  const boot = spawn('sh', words, { stdio: ['ignore', 'inherit', 'inherit'] });
  const ended = () => boot.exitCode !== null || boot.signalCode !== null;
  while (!existsSync(CODE) && !ended()) await sleep(20);
  // Not in order, for which the manager would take a minute.
  if (!ended()) {
    const end = once(boot, 'exit');
    boot.kill('SIGKILL');
    await end;
  }
  if (existsSync(OUTPUT)) process.stdout.write(readFileSync(OUTPUT));
  await remove(cgroup);
  if (!existsSync(CODE)) throw new Error('systemd has ended without the test');
  process.exit(Number(readFileSync(CODE, 'utf8')));
}

function makeUnits(file: string): void {
  mkdirSync(UNITS, { recursive: true });
  mkdirSync(USER_UNITS);
  mkdirSync('/run/dbus', { recursive: true });
  writeFileSync(`${HOME}/bus.conf`, BUS_CONFIG);
  // The test's own environment, but for what would say that we are in a service already.
  const { TEST_BOOTED: _booted, ...environment } = process.env;
  const lines = Object.entries({ ...environment, TEST_BOOTED: '1' }).map(
    ([name, value]) => `export ${name}=${quoted(value ?? '')}`,
  );
  const command = [process.execPath, ...process.execArgv, file, ...process.argv.slice(2)].map(quoted).join(' ');
  writeFileSync(
    `${HOME}/test.sh`,
    `${lines.join('\n')}\ncd ${quoted(process.cwd())}\n${command}\necho $? >${CODE}.new && mv ${CODE}.new ${CODE}\n`,
  );
  const units: Record<string, string> = {
    'test.target': `${UNIT}Wants=dbus.socket test.service\n`,
    'dbus.socket': `${UNIT}[Socket]\nListenStream=${BUS}\n`,
    'dbus.service': `${UNIT}[Service]\nExecStart=/usr/bin/dbus-daemon --config-file=${HOME}/bus.conf --address=systemd: --nofork --nopidfile\n`,
    'test.service': `${UNIT}Requires=dbus.socket\nAfter=dbus.socket
[Service]\nType=oneshot\nExecStart=/bin/sh ${HOME}/test.sh\nStandardOutput=file:${OUTPUT}\nStandardError=inherit\nLimitNOFILE=65536\nDelegate=yes\n`,
    'user@.service': `${UNIT}[Service]\nUser=%i\nSlice=user-%i.slice\nType=notify\nDelegate=yes\nKillMode=mixed
Environment=XDG_RUNTIME_DIR=/run/user/%i SYSTEMD_UNIT_PATH=${USER_UNITS} SYSTEMD_GENERATOR_PATH= SYSTEMD_ENVIRONMENT_GENERATOR_PATH=
ExecStart=${MANAGER} --user --unit=test.target --log-target=console --log-level=warning\n`,
  };
  for (const [name, text] of Object.entries(units)) writeFileSync(join(UNITS, name), text);
  for (const directory of [UNITS, USER_UNITS]) for (const name of TARGETS) writeFileSync(join(directory, name), UNIT);
  writeFileSync(`${USER_UNITS}/test.target`, UNIT);
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The kernel ends what was in it a little after the pid namespace has ended. */
async function remove(cgroup: string): Promise<void> {
  const below = (directory: string): string[] =>
    readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => [...below(join(directory, name)), join(directory, name)]);
  for (let tries = 0; ; tries++) {
    try {
      for (const one of [...below(cgroup), cgroup]) rmdirSync(one);
      return;
    } catch (error) {
      if (tries === 200) throw error;
      await sleep(20);
    }
  }
}

/** Starts the manager of a user. */
export function startUserManager({ uid }: TestUser): void {
  execFileSync('systemctl', ['start', `user@${uid}.service`]);
}

/** The path of a process in the cgroups. */
export function cgroupOf(pid: number): string {
  return /^0::(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
}

/** Moves a process into another cgroup, as nobody should. */
export function move(pid: number, to: string): void {
  writeFileSync(join(CGROUPS, to, 'cgroup.procs'), String(pid));
}
