/**
 * Checks whether this machine is fit for cleat, and explains what will not work.
 *
 * Guarantees: changes nothing. Each check says what it means for the user and what to do.
 * Limits: looks at the daemon's own outside.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { findAardvark } from '../../effects/names/aardvark.ts';
import { isExecutable } from '../../effects/processes/executable.ts';
import type { Kernel } from '../../effects/kernel.ts';
import { kernelHasIpv6 } from '../../effects/namespaces/switches.ts';
import type { Scopes } from '../../effects/processes/scopes.ts';
import { tunTrouble } from '../../effects/uplinks/tun.ts';
import type { WayOut } from '../../plan/networks/way-out.ts';
import type { Fault } from '../../state/faults.ts';
import type { Limits } from '../../state/limits.ts';
import { DEFAULT_NETWORK, type NetworkDefinition } from '../../state/network.ts';
import { uplinkUsers } from '../../effects/uplinks/uplink-users.ts';
import { UPLINK_PROGRAMS, type UplinkProgram } from '../../state/uplink.ts';
import { rightsChecks } from './doctor-rights.ts';
import { tableChecks } from './doctor-tables.ts';
import type { Check, DoctorReport } from '../../state/answers/doctor.ts';
import { answerChecks } from './doctor-answers.ts';
import { bridgeChecks } from './doctor-bridges.ts';
import { firewallChecks } from './doctor-firewall.ts';
import { firewalldChecks } from './doctor-firewalld.ts';
import { mtuChecks } from './doctor-mtu.ts';
import { routeChecks } from '../networks/host-routes.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';
import type { UplinkPrograms } from '../events/uplink-request.ts';

interface Surroundings {
  runDir: string;
  stateDir: string;
  netnsDir: string;
  unreadable: string[];
  /** The paths from the daemon's options. */
  uplinks: UplinkPrograms;
  limits: Limits;
  /** Returns the checks of the outer publisher, if there is one. */
  publisher: () => Promise<Check[]>;
  networks: { all(): NetworkDefinition[]; defaultFault: Fault | null };
  wayOut: WayOut;
  containers: { all(): ContainerSnapshot[] };
  scopes: Pick<Scopes, 'trouble'>;
}

export async function doctor(kernel: Kernel, around: Surroundings): Promise<DoctorReport> {
  const { kernel: native } = kernel.outside(null);
  const [call6, forwarding] = await native.sysctlRead(['net/bridge/bridge-nf-call-ip6tables', 'net/ipv4/ip_forward']);
  const checks: Check[] = [await nftables(kernel)];
  for (const directory of [around.runDir, around.stateDir, around.netnsDir]) checks.push(writable(directory));
  checks.push(propagation(around.netnsDir));
  checks.push({
    name: 'published-on-loopback6',
    ok: call6 !== '1',
    severity: 'warning',
    text:
      call6 === '1'
        ? 'ports published on [::1] do not answer: br_netfilter passes bridged IPv6 through the firewall'
        : 'ports published on [::1] answer',
    ...(call6 === '1' ? { hint: 'sysctl net.bridge.bridge-nf-call-ip6tables=0, if nothing else needs it' } : {}),
  });
  checks.push(forwardingCheck(forwarding ?? 'unknown'), ipv6Check(await kernelHasIpv6(native)));
  checks.push(...(await tableChecks(native, around.limits)));
  for (const file of around.unreadable) {
    checks.push({
      name: 'state',
      ok: false,
      severity: 'error',
      text: `${file} could not be understood and was set aside`,
      hint: 'look at it, remove what it names by hand (cleat audit lists it), then remove the file',
    });
  }
  checks.push(...rightsChecks());
  checks.push(sctp(), await resolver());
  checks.push(users(), tun(), scopesCheck(around.scopes));
  checks.push(...UPLINK_PROGRAMS.map((program) => uplink(program, around.uplinks[program].file)));
  checks.push(...(await around.publisher()));
  checks.push(...(await routeChecks(kernel, around.networks.all())));
  checks.push(...(await firewallChecks(kernel, around.networks.all())));
  checks.push(...(await firewalldChecks(kernel, around.networks.all())));
  checks.push(...(await answerChecks(kernel, around.networks.all(), around.containers.all())));
  checks.push(...(await bridgeChecks(kernel, around.networks.all())));
  checks.push(...mtuChecks(around.networks.all(), around.wayOut));
  const { defaultFault } = around.networks;
  if (defaultFault !== null) {
    checks.push({
      name: 'default-network',
      ok: false,
      severity: 'error',
      text: `there is no default network: ${defaultFault.message}`,
      hint: `cleat network create ${DEFAULT_NETWORK} --subnet CIDR, or start the daemon with --default-subnet-pool BASE,SIZE`,
    });
  }
  return { checks };
}

async function nftables(kernel: Kernel): Promise<Check> {
  try {
    await kernel.outside(null).kernel.nftTable('inet', kernel.instance.table);
    return { name: 'nftables', ok: true, severity: 'error', text: 'the kernel has nf_tables' };
  } catch (error) {
    const text = `nf_tables does not answer: ${error instanceof Error ? error.message : String(error)}`;
    return { name: 'nftables', ok: false, severity: 'error', text, hint: 'load the module nf_tables' };
  }
}

function writable(directory: string): Check {
  try {
    accessSync(directory, constants.W_OK);
    return { name: 'directory', ok: true, severity: 'error', text: `${directory} is writable` };
  } catch {
    return {
      name: 'directory',
      ok: false,
      severity: 'error',
      text: `${directory} is not writable: no container can be created or torn down`,
      hint: 'mount it read-write, free space, or use another --run-dir, --state-dir, --netns-dir',
    };
  }
}

/** Pins are mounts. Other processes see them if the mount that they are made in is shared (mount_namespaces(7)). */
function propagation(directory: string): Check {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , , , point = '']) => point === '/' || directory === point || directory.startsWith(`${point}/`));
  // Field 5 is the mount point, optional fields begin at 7 (proc_pid_mountinfo(5)); the longest point is the nearest.
  const nearest = mounts.sort((a, b) => (b[4] ?? '').length - (a[4] ?? '').length)[0] ?? [];
  const shared = nearest.slice(6).some((field) => field.startsWith('shared:'));
  return {
    name: 'pins',
    ok: shared,
    severity: 'note',
    text: shared
      ? `namespaces pinned in ${directory} are seen from other mount namespaces`
      : `namespaces pinned in ${directory} are seen only from the daemon's mount namespace and those made from it later`,
    ...(shared ? {} : { hint: `mount --make-shared ${nearest[4] ?? directory}, before the daemon starts` }),
  };
}

function sctp(): Check {
  const ok = readFileSync('/proc/net/protocols', 'utf8').includes('\nSCTP ');
  return {
    name: 'sctp',
    ok: true,
    severity: 'note',
    text: ok
      ? 'the kernel has SCTP'
      : 'the kernel has no SCTP: its ports can be published for other machines, not used here',
  };
}

async function resolver(): Promise<Check> {
  const path = await findAardvark();
  return {
    name: 'resolver',
    ok: path !== null,
    severity: 'warning',
    text: path === null ? 'no aardvark-dns: networks with DNS cannot be used' : `${path} answers for containers`,
    ...(path === null ? { hint: 'apt install aardvark-dns' } : {}),
  };
}

/** The start of the daemon has already checked that these users belong to no one else. */
function scopesCheck({ trouble }: Pick<Scopes, 'trouble'>): Check {
  const check = { name: 'scopes', severity: 'warning' } as const;
  if (trouble === null) return { ...check, ok: true, text: 'no helper waits for a scope of systemd' };
  return {
    ...check,
    ok: false,
    text: `helpers end with the unit or session that they were started in: ${trouble}`,
    hint: 'systemctl status (as a user: systemctl --user status) says how systemd is; the daemon asks it again',
  };
}

function users(): Check {
  const { plain, loopback } = uplinkUsers();
  const text = `slirp4netns and pasta run as uid ${plain.uid}, or ${loopback.uid} where the host's loopback is open to the container`;
  return { name: 'uplink-users', ok: true, severity: 'note', text };
}

function forwardingCheck(value: string): Check {
  const found = `net.ipv4.ip_forward is ${value}`;
  if (!isReadOnly('/proc/sys/net/ipv4/ip_forward')) {
    const text = `${found}; cleat turns it on while a network is up and puts it back`;
    return { name: 'forwarding', ok: true, severity: 'note', text };
  }
  const ok = value === '1';
  return {
    name: 'forwarding',
    ok,
    severity: 'error',
    text: `${found}, and /proc/sys is read-only: networks ${ok ? 'can be used as long as it stays so' : 'cannot be used'}`,
    ...(ok ? {} : { hint: 'set it where /proc/sys can be written: sysctl -w net.ipv4.ip_forward=1' }),
  };
}

function isReadOnly(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}

function ipv6Check(there: boolean): Check {
  const text = there ? 'the kernel has IPv6' : 'the kernel has no IPv6: networks with IPv6 subnets are refused';
  return { name: 'ipv6', ok: true, severity: 'note', text };
}

function tun(): Check {
  const trouble = tunTrouble();
  const text =
    trouble === null
      ? 'slirp4netns and pasta can make their link'
      : `slirp4netns and pasta cannot start: ${trouble.message}`;
  return {
    name: 'tun',
    ok: trouble === null,
    severity: 'warning',
    text,
    ...(trouble === null ? {} : { hint: trouble.hint }),
  };
}

/** Checks only whether there is a program to run. Its start finds out whether it can do what is requested. */
function uplink(program: UplinkProgram, path: string): Check {
  const ok = isExecutable(path);
  return {
    name: program,
    ok,
    severity: 'note',
    text: ok ? `${path} can lead containers out` : `no ${path}: containers cannot have ${program} as their way out`,
    ...(ok ? {} : { hint: `apt install ${PACKAGES[program]}, or say where it is: cleat daemon --${program} PATH` }),
  };
}

/** The package names of Debian. */
const PACKAGES: Record<UplinkProgram, string> = { slirp4netns: 'slirp4netns', pasta: 'passt' };
