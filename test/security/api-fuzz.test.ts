/**
 * Random requests, derived from the API's own description and that of the routes for Docker's clients, valid or not, on containers
 * and networks that exist, come and go: no request of a client makes the daemon fail.
 *
 * This must hold. An answer is 2xx, or 4xx with a code of the table and a hint; never 5xx (except 504 for a requested
 * wait, and the output of a program that cannot lead a container out). A refused request has changed nothing in the
 * kernel, and nothing on disk if it was refused by its text alone. After each round the audit is clean; when everything
 * is torn down, kernel and files are byte for byte what they were. The daemon's descriptors and memory are where they
 * were.
 * Limits: one request after another; concurrent ones are in conflicts.test.ts and test/crash. The findings have tests
 * of their own, in api-found.test.ts. `requests=N` tries more; a failure prints seed and path, and the requests that
 * led to it.
 *
 * proving: 3600
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CniError } from '../../state/answers/cni.ts';
import { FAULTS, type FaultCode } from '../../state/faults.ts';
import { requestsOf, type ApiRequest, type Description, type Words } from '../harness/api-grammar.ts';
import { tryByChance } from '../harness/chance.ts';
import { type Answer, on, port, TestDaemon } from '../harness/daemon.ts';
import { DOCKER, dockerDescription, dockerWords } from '../harness/docker-grammar.ts';
import { addNetns, endSleepers, sleeper } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspect, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const REQUESTS = effort('requests', 80, 4000);
const PER_ROUND = 20;
/** How often the whole host is compared before and after a request. */
const LOOK_EVERY = 16;
/** Far above the duration of any request, including two seconds of a resolver that does not answer. */
const ANSWER_MS = 20_000;

const daemon = new TestDaemon();
daemon.dockerSocket = `${daemon.directory}/docker.sock`;
const fuzz = suite('api fuzz');
let empty: Picture;
let tried = 0;
let outside: string;

fuzz.before(async () => {
  outside = addNetns('outside');
  const theirs = addNetns('theirs');
  await daemon.start();
  // An outside stays open once it has been used.
  for (const path of [undefined, outside, theirs]) {
    await daemon.up('warm', path === undefined ? {} : { outside: path, networks: on('cleat') });
    await daemon.down('warm');
  }
  await tearDown();
  await calm();
  empty = inspect(daemon, outside);
});
fuzz.after(async () => {
  endSleepers();
  await daemon.stop();
});

// --- What is said -------------------------------------------------------------------------------------------------

const IDS = ['x1', 'x1', 'x2', 'x2', 'x3', 'constructor'];
const NETWORKS = ['web', 'web', 'n', 'm', 'cleat', 'toString'];
const ADDRESSES = [
  '10.70.0.2',
  '10.70.0.1',
  '10.70.0.7',
  '10.71.0.9',
  '127.0.0.1',
  '0.0.0.0',
  '::',
  '::1',
  'fd00:70::9',
];
const ODD_ADDRESSES = ['255.255.255.255', '224.0.0.1', 'fe80::1', 'ff02::1', '::ffff:10.70.0.3', '10.70.0.300'];
const SUBNETS = ['10.71.0.0/24', '10.70.0.0/28', '10.72.0.0/30', '10.72.0.9/31', '192.168.0.0/16', '0.0.0.0/0', '::/0'];
const ODD_SUBNETS = ['127.0.0.0/8', '224.0.0.0/4', '240.0.0.0/4', '169.254.0.0/16', 'fe80::/64', 'ff00::/8', '::1/128'];

function words(pid: number): Words {
  return {
    id: IDS,
    name: [...NETWORKS, ...IDS],
    network: NETWORKS,
    networks: NETWORKS,
    from: IDS,
    pod: ['p', 'x1'],
    hostname: ['a', 'db.internal', 'x'.repeat(64)],
    aliases: ['a', 'db', 'DB', 'x.y'],
    path: ['/run/netns/theirs', '/run/netns/nope', '/etc/passwd', '/proc/self/ns/net', '/proc/self/ns/mnt', '/run'],
    outside: [outside, outside, '/run/netns/theirs', '/dev/null', '/proc/1/ns/net'],
    pid: [pid, pid, process.pid, 1, 4_194_304],
    bound_to: [pid, 4_194_304],
    static_ips: [...ADDRESSES, ...ODD_ADDRESSES],
    static_mac: ['02:00:00:00:00:01', '02:00:00:00:00:02', 'FE:FF:FF:FF:FF:FF'],
    interface_name: ['eth0', 'eth1', 'lo', 'all', 'default', 'a.b', 'fifteen-letters'],
    network_interface: ['br0', 'br1', 'lo', 'all', 'default', 'a.b', 'fifteen-letters', 'bonding_masters'],
    host_ip: ['', '127.0.0.1', ...ADDRESSES],
    host_port: [8080, 8080, 8081, 0, 65_535, 1, 50_000],
    container_port: [80, 80, 81, 65_535],
    range: [1, 1, 2, 100],
    subnet: [...SUBNETS, ...ODD_SUBNETS],
    gateway: ['10.71.0.1', '10.71.0.254', '10.70.0.1', ...ADDRESSES, ...ODD_ADDRESSES],
    start_ip: ['10.71.0.10', '10.71.0.0', '10.71.0.255'],
    end_ip: ['10.71.0.20', '10.71.0.9', '10.71.0.255'],
    destination: ['192.0.2.0/24', '0.0.0.0/0', '::/0', '10.70.0.0/29', '127.0.0.0/8', 'fd00:99::/64', '10.99.0.1/32'],
    network_dns_servers: ['192.0.2.53', 'fd00::53', '0.0.0.0', '255.255.255.255', 'fe80::1'],
    mtu: ['1500', '68', '69', '1279', '1280', '9000', '65535', '65536', '0'],
    metric: ['0', '100', '999999999', '4294967296'],
    no_default_route: ['true', '0'],
    outbound_addr4: ['192.0.2.9', ...ODD_ADDRESSES],
    outbound_addr6: ['fd00:99::9', ...ODD_ADDRESSES],
    'com.docker.network.bridge.enable_ip_masquerade': ['true', 'false', '0'],
    labels: ['a', 'b'],
    wait: ['up', 'gone', 'created', 'toString', 'creating'],
    timeout: [0, 1, 20, 'x', '1e1', '-1', ''],
    dry_run: ['true', 'false', 'yes'],
  };
}

// --- What must hold -----------------------------------------------------------------------------------------------

/** Refusals by the text of the request alone, or by the present objects: nothing is written to disk. */
const BY_WORDS: readonly FaultCode[] = [
  'BAD_REQUEST',
  'UNSUPPORTED',
  'BODY_TOO_LARGE',
  'NO_SUCH_CONTAINER',
  'NO_SUCH_NETWORK',
];

async function say({ method, path, headers, body }: ApiRequest): Promise<Answer | null> {
  // Streams never end, a wait ends after 30 s; api.test.ts and inspector.test.ts test them.
  if (method === 'GET' && (/^\/v1\/(events|inspector)/.test(path) || /wait=(?!.*timeout=)/.test(path))) return null;
  const late = sleep(ANSWER_MS, null, { ref: false }).then(() => {
    throw new Error(`no answer to ${method} ${path} ${body} after ${ANSWER_MS} ms`);
  });
  const socket = path.startsWith(DOCKER) ? daemon.dockerSocket : daemon.socket;
  return Promise.race([daemon.request(method, path, body ?? undefined, headers, socket), late]);
}

interface Refusal {
  code?: FaultCode | undefined;
  message?: string;
  hint?: string | undefined;
}

/** What a refusal says, also in the form of the CNI specification, whose message ends with the code of the fault. */
function refusalOf({ body }: Answer): Refusal {
  const { msg, details } = (body ?? {}) as Partial<CniError>;
  if (msg === undefined) return body?.error ?? {};
  return { code: /\((\w+)\)$/.exec(msg)?.[1] as FaultCode | undefined, message: msg, hint: details };
}

/** A refusal in the form of Docker has a message alone; one of its sentences has 500. */
function acceptableToDocker({ status, body, text }: Answer): void {
  const { message } = body as { message?: string };
  const theirs = status === 500 && /^container .* is not connected to network /.test(message ?? '');
  assert.ok(Boolean(message) && ((status >= 400 && status < 500) || status === 504 || theirs), `${status} ${text}`);
}

function acceptable(answer: Answer): void {
  const { status, text } = answer;
  if (status < 300) return;
  const { code, message, hint } = refusalOf(answer);
  const known = code !== undefined && code in FAULTS && FAULTS[code][0] === status;
  // Faults of programs: pasta, where there is nothing outside that it could lead to.
  const whose = status < 500 || (code !== undefined && ['DEADLINE', 'WAIT_TIMEOUT', 'UPLINK_FAILED'].includes(code));
  assert.ok(known && whose && Boolean(message) && Boolean(hint), `${status} ${text}`);
}

/** Waits until nothing is under way: two inspections see the same. */
async function still(): Promise<Picture> {
  let before = inspect(daemon, outside);
  for (let n = 0; n < 100; n++) {
    await sleep(20);
    const now = inspect(daemon, outside);
    if (isDeepStrictEqual(now, before)) return now;
    before = now;
  }
  throw new Error('it never comes to rest');
}

async function round(requests: readonly ApiRequest[]): Promise<void> {
  await daemon.network({ name: 'cleat', subnets: [{ subnet: '10.89.0.0/24' }] });
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.70.0.0/29' }, { subnet: 'fd00:70::/64' }] });
  await daemon.up('x1', { networks: on('web'), port_mappings: [port(8080, 80)] });
  await daemon.done({ type: 'create', id: 'x2', networks: on('web', 'cleat') });
  try {
    for (const request of requests) {
      const looked = tried++ % LOOK_EVERY === 0 ? await still() : null;
      const answer = await say(request);
      if (answer === null) continue;
      const isDockers = request.path.startsWith(DOCKER);
      if (!isDockers) acceptable(answer);
      else if (answer.status >= 300) acceptableToDocker(answer);
      if (looked === null || answer.status < 400) continue;
      const { code } = refusalOf(answer);
      const by = code !== undefined && BY_WORDS.includes(code);
      const part = (picture: Picture) => (by ? picture : { ...picture, files: [] });
      await assertComesBackTo(part(looked), () => part(inspect(daemon, outside)));
    }
    await comesClean();
  } finally {
    await tearDown();
  }
  await assertComesBackTo(empty, () => inspect(daemon, outside));
}

/** At once, or as soon as the kernel has reaped the links of a teardown. */
async function comesClean(): Promise<void> {
  for (let n = 0; ; n++) {
    const { body, text } = await daemon.get<{ clean: boolean }>('/v1/audit');
    if (body.clean) return;
    if (n === 100) throw new Error(`the audit never is clean: ${text}`);
    await sleep(20);
  }
}

async function tearDown(): Promise<void> {
  for (let n = 0; n < 50; n++) {
    const { body } = await daemon.get<{ id: string }[]>('/v1/containers');
    if (body.length === 0) break;
    await Promise.all(body.map(({ id }) => daemon.event({ type: 'teardown', id })));
    await sleep(n === 0 ? 0 : 20);
  }
  const { body } = await daemon.get<{ name: string }[]>('/v1/networks');
  for (const { name } of body) await daemon.request('DELETE', `/v1/networks/${name}`);
}

const descriptors = (): number => readdirSync(`/proc/${daemon.pid}/fd`).length;
const residentMiB = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))?.[1]) / 1024;

fuzz('no request that the grammar can make is answered with 5xx, or leaves anything behind', async () => {
  const { pid = 0 } = await sleeper();
  const { body: description } = await daemon.get<Description>('/v1/openapi.json');
  const cleats = requestsOf(description, words(pid));
  const dockers = requestsOf(dockerDescription, dockerWords(words(pid)));
  const requests = fc.array(fc.oneof({ weight: 3, arbitrary: cleats }, { weight: 1, arbitrary: dockers }), {
    minLength: 1,
    maxLength: PER_ROUND * 2,
    size: 'max',
  });
  await round(fc.sample(requests, { seed: 1, numRuns: 1 })[0] ?? []);
  const [fds, mib] = [descriptors(), residentMiB()];
  await tryByChance(requests, Math.ceil(REQUESTS / PER_ROUND), round, (all) =>
    all.map(({ method, path, body }) => `  ${method} ${path} ${body ?? ''}`).join('\n'),
  );
  assert.ok(descriptors() <= fds + 10, `${fds} descriptors became ${descriptors()}`);
  assert.ok(residentMiB() < mib + 150, `${mib} MiB became ${residentMiB()}`);
  proved('API requests from a grammar', tried);
});

fuzz.run();
