// slow: 30 s, each scenario is played once in full
// proving: 300
// as user: proving
/**
 * Nothing is left out: a scenario of scenarios.ts passes every effect of every shipped machine, and every kind of file
 * that is written, at each of its failpoints. An effect that is added later fails here until a scenario has it.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyStateMachine } from 'xstate';
import { effectNames } from '../../effects/effect.ts';
import { HostKeys } from '../../service/overlay/host-keys.ts';
import { HostIdentity } from '../../service/overlay/host-identity.ts';
import { provideContainer, providePrepared, provideShared } from '../../service/actors.ts';
import { DefinitionStore } from '../../state/files/definitions.ts';
import { ExposedStore } from '../../state/files/exposed.ts';
import { PeerStore } from '../../state/files/peers.ts';
import { SnapshotStore } from '../../state/files/store.ts';
import { fileNames } from '../../state/files/whole-file.ts';
import { CrashTest } from '../harness/crash.ts';
import { isRootless } from '../harness/host.ts';
import { Life, type Scenario } from '../harness/life.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { openTun } from '../harness/tun.ts';
import { proved } from '../harness/proof.ts';
import { hosts, plugged, scenarios, tunnels, zones } from './scenarios.ts';

requirePrivateNamespace();
openTun();

/** Actors that are no effects: they exchange events with other machines, or wait, and change nothing outside. */
const CONVERSATIONS = [
  'attachment',
  'awaitVerdict',
  'backOff',
  'fanOut',
  'holdFirewall',
  'lease',
  'name',
  // Makes what no snapshot has to name: the kernel removes it with the daemon.
  'pause',
  'prepareNamespace',
  'release',
  'releaseFirewall',
  'unname',
  'uplink',
  'verifyFirewall',
];

const nothing = () => {
  throw new Error('asked for while there is no daemon');
};
const runner = { failpoint: () => {}, commit: () => Promise.resolve() };
const none = {} as never;
const container = provideContainer(runner, none, none, {
  exposed: none,
  places: none,
  neighbours: none,
  externals: none,
  termsOf: none,
  scopes: none,
  taking: none,
  ensureFiles: none,
  removeFiles: none,
});
const shared = provideShared(runner, none, none, {
  runDir: tmpdir(),
  rootlessHome: tmpdir(),
  servers: undefined,
  scopes: none,
  containers: none,
  record: nothing,
  policies: none,
  forwardOthers: false,
});

/** The names of the actors of a machine and of the machines that it invokes. */
function actorsOf(machine: AnyStateMachine): string[] {
  const actors = Object.entries(machine.implementations.actors as Record<string, unknown>);
  return actors.flatMap(([name, logic]) => {
    const inner = logic as Partial<AnyStateMachine> | undefined;
    return inner?.implementations === undefined ? [name] : [name, ...actorsOf(inner as AnyStateMachine)];
  });
}

/** A user's daemon has no right over firewalld, no address that other hosts reach, and the plugin of the other needs a link in the network of the daemon. */
const OF_ROOT: Scenario[] = [zones, plugged, hosts, tunnels];
const played = Object.values(scenarios).filter((scenario) => !isRootless || !OF_ROOT.includes(scenario));
/** The effects that those alone pass. */
const EFFECTS_OF_ROOT = [
  'addExternal',
  'recordAnswer',
  'checkExternal',
  'removeExternal',
  'changeZones',
  'programPeers',
];

const points = suite('failpoints');

points('every actor of every machine is an effect with failpoints, or known to change nothing', () => {
  const all = [container, providePrepared(none, () => {}), ...Object.values(shared)].flatMap((machine) =>
    actorsOf(machine as AnyStateMachine),
  );
  const others = all.filter((name) => !effectNames.has(name));
  assert.equal([...new Set(others)].sort(), CONVERSATIONS);
  assert.ok(effectNames.size > 20);
});

points('a scenario passes every failpoint of every effect and of every kind of file', async () => {
  const passed = new Set<string>();
  let count = 0;
  for (const scenario of played) {
    const life = await Life.start(scenario);
    try {
      const seen = await new CrashTest(life).pass();
      count += seen.length;
      for (const point of seen) passed.add(point.replace(/#\d+$/, ''));
      await life.end();
    } catch (error) {
      await life.abandon();
      throw error;
    }
  }
  const directory = mkdtempSync(join(tmpdir(), 'files-'));
  // Made, they have told the names of their files.
  for (const Store of [DefinitionStore, ExposedStore, PeerStore]) void new Store(directory, () => {});
  void new HostIdentity(directory, () => {});
  void new HostKeys(join(directory, 'wireguard'), () => {}, new Set());
  for (const name of ['containers', 'outsides']) void new SnapshotStore(join(directory, name), () => {});
  const wanted = [
    ...[...effectNames].flatMap((name) => ['before', 'durable', 'after'].map((when) => `${name}:${when}`)),
    ...[...fileNames].flatMap((name) => ['before', 'written', 'after'].map((when) => `${name}.write:${when}`)),
    // The id of the host is written once, and never removed.
    ...[...fileNames, 'journal'].flatMap((name) =>
      name === 'host' ? [] : [`${name}.remove:before`, `${name}.remove:after`],
    ),
    'journal.append:before',
    'journal.append:after',
  ];
  assert.equal(
    wanted.filter((name) => !passed.has(name)),
    isRootless ? wanted.filter((name) => EFFECTS_OF_ROOT.includes(name.replace(/:.*/, ''))) : [],
  );
  assert.equal(
    [...passed].filter((name) => !wanted.includes(name)),
    [],
  );
  proved(`failpoints passed in ${played.length} scenarios, of ${passed.size} kinds`, count);
});

points.run();
