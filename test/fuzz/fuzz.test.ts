// slow: 60 s, nine targets are built by another compiler, and each is given thousands of inputs
/**
 * Coverage-guided fuzzing of every native decoder: netlink messages, the JSON and HTTP of the small executables, requests to the
 * forwarder. libFuzzer with ASan and UBSan; each target (*.cc beside this file) also states what must hold of the
 * result.
 *
 * Seeds are real: the kernel's messages about a network that was made for that (world.sh, capture.py), and those of a
 * runtime and of the daemon. Interesting inputs are kept below build/sanitized/fuzz/corpus, and the next run begins
 * with them. An input that once crashed a target is in regressions/TARGET, named after the defect.
 */
// proving only: 5400
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effort, proved } from '../harness/proof.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { build, type Patch, ROOT, SANITIZED } from '../harness/sanitized.ts';

requirePrivateNamespace();

const FUZZ = join(ROOT, 'test/fuzz');
const EXECUTIONS = effort('executions', 10_000, 3_000_000);
/** For slow inputs, or a slow machine. */
const LIMIT_S = effort('seconds', 20, 120);
/** The executions that a target may need to find a planted mistake. */
const FINDS_WITHIN = 2_000_000;

const STATE = {
  ociVersion: '1.0.2',
  id: 'web1',
  status: 'creating',
  pid: 4242,
  bundle: '/b',
  annotations: {
    'cleat.network': 'web, db',
    'cleat.ports': '8080:80/tcp,127.0.0.1:53:53/udp,[::1]:8081:80,8000-8009:80-89/sctp,443',
    'cleat.ip': '10.0.0.5, fd00::5',
    'cleat.mac': '02:00:5e:10:00:01',
    'cleat.interface': 'lan0',
    'org.example': 'x',
  },
};
const CHUNKED =
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ; a=b\r\n{"a":\r\n2\r\n1}\r\n0\r\nTrailer: x\r\n\r\n';

const FORWARD = {
  owner: 'a:1',
  protocol: 'tcp',
  host_ip: '0.0.0.0',
  host_port: 80,
  netns: '/run/netns/a',
  dev: 4,
  ino: 4026532462,
  address: '10.0.2.100',
  container_port: 80,
};

const CONFIGURATION = { cniVersion: '1.1.0', name: 'pods', type: 'cleat', runtimeConfig: { ips: ['10.0.0.2'] } };

interface Target {
  sources: string[];
  /** Seeds besides those of the kernel. */
  seeds?: string[];
  /** A check that is removed: the target has to find out. */
  mistake: Patch;
}

const TARGETS: Record<string, Target> = {
  rtnl: {
    sources: ['native/rtnetlink/rtnl-decode.cc', 'native/netlink/address.cc'],
    mistake: { source: 'native/rtnetlink/rtnl-decode.cc', from: '>= at_least ?', to: '>= 1 ?' },
  },
  'nft-dump': {
    sources: ['native/nftables/nft-decode.cc', 'native/nftables/nft-type.cc'],
    mistake: {
      source: 'native/nftables/nft-decode.cc',
      from: 'TextOf(attribute);',
      to: 'mnl_attr_get_str(attribute);',
    },
  },
  'nft-transaction': {
    sources: ['native/nftables/nft-transaction.cc'],
    mistake: {
      source: 'native/nftables/nft-transaction.cc',
      from: 'if (const std::optional<uint32_t> pid = NumberOf<uint32_t>(attribute)) transaction.pid = ntohl(*pid);',
      to: 'transaction.pid = ntohl(mnl_attr_get_u32(attribute)) / (mnl_attr_get_payload_len(attribute) / 4);',
    },
  },
  conntrack: {
    sources: ['native/conntrack/conntrack-entry.cc', 'native/conntrack/conntrack-judge.cc'],
    mistake: {
      source: 'native/conntrack/conntrack-entry.cc',
      from: 'mnl_attr_put_check(request, sizeof buffer,',
      to: 'mnl_attr_put(request,',
    },
  },
  json: {
    sources: ['native/json/json.cc'],
    seeds: [JSON.stringify(STATE), '[1e5, -0.25, true, {"\\u00e9\\ud83d\\ude00\\n": null}, "\u{1F600}"]'],
    mistake: {
      source: 'native/json/json.cc',
      from: 'if (first == 0xED && second > 0x9F) return 0;',
      to: 'if (first == 0xE1) return 4;',
    },
  },
  http: {
    sources: ['native/client/deadline.cc', 'native/client/http.cc'],
    seeds: [
      `\x80${CHUNKED}`,
      `\x40HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${CHUNKED}`,
      '\xa0HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n{"error":{}}',
      '\x20HTTP/1.0 200\r\n\r\nall there is',
    ],
    mistake: {
      source: 'native/client/http.cc',
      from: 'if (rest.size() < *head.length) result = ReplyParse::kIncomplete;',
      to: '',
    },
  },
  'oci-state': {
    sources: [
      'native/json/json.cc',
      'native/hook/annotations.cc',
      'native/hook/container.cc',
      'native/hook/port-mapping.cc',
    ],
    seeds: [
      JSON.stringify(STATE),
      JSON.stringify({ id: 'a', pid: 1, annotations: { 'cleat.network': 'none' } }),
      JSON.stringify({ id: 'a', pid: 1, annotations: { 'cleat.network': 'pasta:--mtu,1500', 'cleat.hostname': 'b' } }),
      JSON.stringify({
        id: 'a',
        pid: 1,
        bundle: '/b',
        annotations: { 'cleat.network': 'web,db', 'cleat.ip.db': '10.0.0.5', 'cleat.aliases.db': 'x,y' },
      }),
      JSON.stringify({ id: 'a', pid: 1, linux: { namespaces: [{ type: 'network', path: '/proc/1/ns/net' }] } }),
    ],
    mistake: {
      source: 'native/hook/container.cc',
      from: "c == '_' || c == '.' || c == '-';",
      to: "c == '_' || c >= '!';",
    },
  },
  'cni-call': {
    sources: ['native/json/json.cc', 'native/cni/call.cc'],
    seeds: ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'].map((command) =>
      [command, 'c1', '/run/netns/c1', 'eth0', 'IP=10.0.0.2', JSON.stringify(CONFIGURATION)].join('\0'),
    ),
    mistake: {
      source: 'native/cni/call.cc',
      from: 'if (!cleat::ParseJson(quoted.data(), quoted.size())) return std::nullopt;',
      to: '',
    },
  },
  'forward-request': {
    sources: [
      'native/json/json.cc',
      'native/forwarder/budget.cc',
      'native/forwarder/endpoint.cc',
      'native/forwarder/control/request.cc',
    ],
    seeds: [
      '{"op":"who"}',
      '{"op":"list"}',
      JSON.stringify({
        op: 'change',
        remove: [{ owner: 'a:1', protocol: 'udp', host_ip: '::', host_port: 53 }],
        add: [FORWARD, { ...FORWARD, host_ip: 'fd00::1', address: 'fd00:1::2' }],
      }),
      JSON.stringify({
        op: 'change',
        remove: [],
        add: [FORWARD],
        bound: [
          { owner: 'a:1', to: [{ pid: 7, start_time: 1234, exit: { pid: 7, start_time: 1, fd: 4, dev: 1, ino: 2 } }] },
          { owner: 'c:1', to: [{ exit: { pid: 7, start_time: 1 } }] },
          { owner: 'b:1', to: [] },
        ],
      }),
    ],
    mistake: {
      source: 'native/forwarder/control/request.cc',
      from: 'list == nullptr || ',
      to: '',
    },
  },
};

const MISTAKEN = ['nft-dump', 'json', ...Object.keys(TARGETS)].slice(0, effort('mistakes', 1, 10));
const seeds = mkdtempSync(join(tmpdir(), 'seeds-'));
const fuzz = suite('fuzz');

fuzz.before(() => {
  execFileSync('python3', [join(FUZZ, 'capture.py'), seeds, 'sh', join(FUZZ, 'world.sh')], { stdio: 'inherit' });
  for (const [name, { seeds: own = [] }] of Object.entries(TARGETS)) {
    mkdirSync(join(seeds, name), { recursive: true });
    for (const [i, seed] of own.entries()) writeFileSync(join(seeds, name, `own-${i}`), seed, 'latin1');
  }
});

function buildTarget(name: string, patch?: Patch): Promise<string> {
  const recipe = { output: name, sources: [`test/fuzz/${name}.cc`, ...TARGETS[name]!.sources], libraries: ['-lmnl'] };
  return build('fuzz', patch === undefined ? recipe : { ...recipe, patch });
}

/** Runs a target and returns its output. Crashing inputs go to `artifacts`. */
function run(program: string, argv: string[], artifacts: string): { status: number | null; output: string } {
  mkdirSync(artifacts, { recursive: true });
  const all = [...argv, `-artifact_prefix=${artifacts}/`, '-timeout=10', '-rss_limit_mb=1024', '-len_control=0'];
  const { status, stderr } = spawnSync(program, all, { encoding: 'utf8', maxBuffer: 1 << 28 });
  return { status, output: stderr };
}

function executed(output: string): number {
  return Number(/stat::number_of_executed_units: (\d+)/.exec(output)?.[1] ?? 0);
}

for (const [name, target] of Object.entries(TARGETS)) {
  fuzz(`${name}: no input does harm`, async () => {
    const program = await buildTarget(name);
    const regressions = join(FUZZ, 'regressions', name);
    if (existsSync(regressions)) {
      for (const file of readdirSync(regressions)) {
        const { status, output } = run(program, [join(regressions, file)], seeds);
        assert.is(status, 0, `${file}\n${output}`);
      }
    }
    const corpus = join(SANITIZED, 'fuzz/corpus', name);
    mkdirSync(corpus, { recursive: true });
    const found = readdirSync(join(seeds, name)).length;
    assert.ok(found > 0, 'no seed: the kernel said nothing');
    const argv = [
      `-runs=${EXECUTIONS}`,
      `-max_total_time=${LIMIT_S}`,
      '-print_final_stats=1',
      corpus,
      join(seeds, name),
    ];
    const { status, output } = run(program, argv, join(SANITIZED, 'fuzz/crashes', name));
    assert.is(status, 0, output);
    proved(`inputs to ${name}`, executed(output));
  });

  // A target finds the same mistakes each time: a run now and then is enough.
  if (!MISTAKEN.includes(name)) continue;
  fuzz(`${name}: a mistake made on purpose is found`, async () => {
    const program = await buildTarget(name, target.mistake);
    const corpus = mkdtempSync(join(tmpdir(), 'corpus-'));
    const argv = [`-runs=${FINDS_WITHIN}`, '-max_total_time=60', '-seed=1', corpus, join(seeds, name)];
    const { status, output } = run(program, argv, join(seeds, 'crashes'));
    assert.is.not(status, 0, `not within ${FINDS_WITHIN} executions`);
    assert.match(output, /ERROR: AddressSanitizer|runtime error:|not so:/);
    rmSync(corpus, { recursive: true });
  });
}

fuzz.after(() => rmSync(seeds, { recursive: true }));

fuzz.run();
