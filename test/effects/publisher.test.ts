/**
 * The outer publisher, through the shipped effects, against a stand-in that answers as gvproxy does (see
 * harness/gvproxy.ts): all-or-nothing changes, repeated requests, foreign exposures, and every kind of missing answer.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { askPublisher, expose, reconcile, unexpose, type Reconciled } from '../../effects/ports/publisher.ts';
import type { ResolvedPort } from '../../state/container.ts';
import { ExposedStore } from '../../state/files/exposed.ts';
import type { Fault } from '../../state/faults.ts';
import { FakeGvproxy, type Behaviour } from '../harness/gvproxy.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const publisher = suite('outer publisher');

const port = (hostPort: number, more: Partial<ResolvedPort> = {}): ResolvedPort => ({
  protocol: 'tcp',
  hostIp: '',
  hostPort,
  containerPort: 80,
  range: 1,
  outerIp: '',
  ...more,
});

const scratch = () => mkdtempSync(join(tmpdir(), 'exposed-'));
const ledgerIn = (directory: string) => new ExposedStore(directory, () => {});

/** Runs with a publisher, a ledger and the effects, and stops the publisher at the end. */
async function within(
  work: (on: {
    gvproxy: FakeGvproxy;
    ledger: ExposedStore;
    directory: string;
    expose: (...ports: ResolvedPort[]) => Promise<Fault | null>;
    unexpose: (...ports: ResolvedPort[]) => Promise<Fault | null>;
    reconcile: (wanted: ResolvedPort[], stale?: ResolvedPort[]) => Promise<Reconciled>;
  }) => Promise<void>,
  socket: string | null = null,
): Promise<void> {
  const gvproxy = await new FakeGvproxy(socket).start();
  const directory = scratch();
  const ledger = ledgerIn(directory);
  const { url } = gvproxy;
  try {
    await work({
      gvproxy,
      ledger,
      directory,
      expose: (...ports) => faultOf(expose(ledger)({ publisher: url, ports })),
      unexpose: (...ports) => unexpose(ledger)({ publisher: url, ports }),
      reconcile: (wanted, stale = []) => reconcile(ledger)({ publisher: url, wanted, undecided: [], stale }),
    });
  } finally {
    await gvproxy.stop();
  }
}

async function faultOf(work: Promise<void>): Promise<Fault | null> {
  try {
    await work;
    return null;
  } catch (error) {
    if (error instanceof Error && 'fault' in error) return error.fault as Fault;
    throw error;
  }
}

const US = '127.0.0.1';

publisher('addresses are exposed as they were requested, port by port, and removed again', async () => {
  await within(async ({ gvproxy, ledger, expose, unexpose }) => {
    const ports = [
      port(8080, { range: 2 }),
      port(8090, { outerIp: '0.0.0.0' }),
      port(8091, { outerIp: '127.0.0.1', protocol: 'udp' }),
      port(8092, { outerIp: '::1' }),
      port(8093, { outerIp: null, hostIp: '127.0.0.1' }),
    ];
    assert.is(await expose(...ports), null);
    const all = [
      `tcp 0.0.0.0:8090 ${US}:8090`,
      `tcp 127.0.0.1:8093 ${US}:8093`,
      `tcp :8080 ${US}:8080`,
      `tcp :8081 ${US}:8081`,
      `tcp [::1]:8092 ${US}:8092`,
      `udp 127.0.0.1:8091 ${US}:8091`,
    ];
    assert.equal(gvproxy.forwards, all);
    assert.is(ledger.of(gvproxy.url).length, all.length);
    assert.is(await unexpose(port(8081)), null);
    assert.equal(
      gvproxy.forwards,
      all.filter((line) => !line.includes('8081')),
    );
    assert.is(await unexpose(...ports), null);
    assert.equal([gvproxy.forwards, ledger.of(gvproxy.url)], [[], []]);
  });
});

publisher('over a Unix socket, the remote address is the one that gvproxy leases', async () => {
  const socket = join(mkdtempSync(join(tmpdir(), 'gvproxy-')), 'api.sock');
  await within(async ({ gvproxy, expose, unexpose }) => {
    assert.is(await expose(port(8080)), null);
    assert.equal(gvproxy.forwards, ['tcp :8080 192.168.127.2:8080']);
    assert.is(await unexpose(port(8080)), null);
    assert.equal(gvproxy.forwards, []);
  }, socket);
});

publisher('exposing or removing twice succeeds without a second request', async () => {
  await within(async ({ gvproxy, expose, unexpose }) => {
    assert.is(await expose(port(8080)), null);
    assert.is(await expose(port(8080), port(8081)), null);
    assert.equal(
      gvproxy.requests.filter((request) => request.startsWith('expose')),
      ['expose :8080', 'expose :8081'],
    );
    assert.is(await unexpose(port(8080), port(8081)), null);
    assert.is(await unexpose(port(8080), port(8081)), null);
  });
});

publisher('a running exposure that leads to us is ours, also when it came between our requests', async () => {
  await within(async ({ gvproxy, expose }) => {
    let first = true;
    gvproxy.misbehave = async (path): Promise<Behaviour> => {
      // The list was empty; before our request comes, it is not.
      if (path === 'expose' && first) await gvproxy.have('tcp', ':8080', `${US}:8080`);
      if (path === 'expose') first = false;
      return 'well';
    };
    assert.is(await expose(port(8080)), null);
    assert.equal(gvproxy.forwards, [`tcp :8080 ${US}:8080`]);
  });
});

publisher('a port that is in use on the host makes the whole request fail', async () => {
  await within(async ({ gvproxy, ledger, expose }) => {
    await gvproxy.have('tcp', ':8085', '192.168.127.9:85');
    assert.is(await expose(port(8079)), null);
    const before = gvproxy.forwards;
    // Not the same forward, but the same socket.
    const fault = await expose(port(8079), port(8080, { range: 5 }), port(8085, { outerIp: '0.0.0.0' }));
    assert.is(fault?.code, 'PORT_TAKEN');
    assert.match(fault?.message ?? '', /^port 0\.0\.0\.0:8085\/tcp is taken on the host .* address already in use/);
    assert.equal(gvproxy.forwards, before);
    assert.equal(
      ledger.of(gvproxy.url).map(({ local }) => local),
      [':8079'],
    );
  });
});

publisher('an exposure that leads elsewhere is left alone by every request', async () => {
  await within(async ({ gvproxy, expose, unexpose, reconcile }) => {
    await gvproxy.have('tcp', ':8080', '192.168.127.9:8080');
    await gvproxy.have('tcp', '127.0.0.1:2222', '192.168.127.2:22');
    const before = gvproxy.forwards;
    const fault = await expose(port(8079), port(8080));
    assert.is(fault?.code, 'PORT_TAKEN');
    assert.match(fault?.message ?? '', /leads to 192\.168\.127\.9:8080/);
    // A machine does this after that.
    assert.is(await unexpose(port(8079), port(8080)), null);
    const { faults, ...done } = await reconcile([port(8080), port(8081)], [port(2222, { outerIp: '127.0.0.1' })]);
    assert.equal(done, { exposed: ['tcp/:8081'], unexposed: [] });
    assert.equal(
      faults.map(({ code }) => code),
      ['PORT_TAKEN'],
    );
    assert.equal(gvproxy.forwards, [...before, `tcp :8081 ${US}:8081`].sort());
  });
});

publisher('sctp is refused with a clear text before any request', async () => {
  await within(async ({ gvproxy, expose, unexpose }) => {
    const fault = await expose(port(8080), port(8081, { protocol: 'sctp' }));
    assert.is(fault?.code, 'PUBLISHER_FAILED');
    assert.match(fault?.message ?? '', /^port 8081\/sctp cannot be published: the outer publisher knows tcp and udp$/);
    assert.equal(gvproxy.requests, []);
    assert.is(await unexpose(port(8081, { protocol: 'sctp' })), null);
  });
});

const SILENCES: [behaviour: Behaviour, says: RegExp][] = [
  ['hang', /has not answered in time/],
  ['close', /does not answer: socket hang up/],
  ['half', /does not answer: (aborted|the connection was closed)/],
  ['garbage', /makes no sense/],
  ['strange', /makes no sense/],
  ['endless', /longer than \d+ bytes/],
  ['redirect', /refused to all: status 302/],
];
for (const [behaviour, says] of SILENCES) {
  publisher(`an invalid answer (${behaviour}) is reported, not waited for, and not forgotten`, async () => {
    await within(async ({ gvproxy, ledger, expose, unexpose, reconcile }) => {
      assert.is(await expose(port(8080)), null);
      gvproxy.behave = behaviour;
      for (const fault of [
        await unexpose(port(8080)),
        await expose(port(8081)),
        (await reconcile([port(8080)])).faults[0],
      ]) {
        assert.is(fault?.code, 'PUBLISHER_FAILED', JSON.stringify(fault));
        assert.match(fault?.message ?? '', says);
      }
      const asked = await askPublisher(gvproxy.url);
      assert.match('fault' in asked ? asked.fault.message : 'it answers', says);
      // It goes with the next call, whatever that call requests.
      gvproxy.behave = 'well';
      assert.equal(
        ledger.owed(gvproxy.url).map(({ local }) => local),
        [':8080'],
      );
      assert.is(await expose(port(8082)), null);
      assert.equal(gvproxy.forwards, [`tcp :8082 ${US}:8082`]);
      assert.equal(ledger.owed(gvproxy.url), []);
    });
  });
}

publisher('a missing publisher is reported', async () => {
  await within(async ({ gvproxy, expose, unexpose }) => {
    await gvproxy.stop();
    for (const fault of [await expose(port(8080)), await unexpose(port(8080))]) {
      assert.is(fault?.code, 'PUBLISHER_FAILED');
      assert.match(fault?.message ?? '', /does not answer: connect ECONNREFUSED/);
    }
  });
});

publisher('an exposure that is made but not answered is undone', async () => {
  await within(async ({ gvproxy, ledger, expose }) => {
    gvproxy.misbehave = async (path, { local }): Promise<Behaviour> => {
      if (path !== 'expose' || local !== ':8081') return 'well';
      await gvproxy.have('tcp', ':8081', `${US}:8081`);
      return 'close';
    };
    const fault = await expose(port(8080, { range: 3 }));
    assert.is(fault?.code, 'PUBLISHER_FAILED');
    assert.equal([gvproxy.forwards, ledger.of(gvproxy.url)], [[], []]);
  });
});

publisher('an exposure that cannot be undone is recorded on disk, and removed at the next start', async () => {
  await within(async ({ gvproxy, directory, expose }) => {
    gvproxy.misbehave = (path, { local }) => (path === 'unexpose' || local === ':8081' ? 'close' : 'well');
    const fault = await expose(port(8080), port(8081));
    assert.is(fault?.code, 'PUBLISHER_FAILED');
    assert.equal(gvproxy.forwards, [`tcp :8080 ${US}:8080`]);
    gvproxy.misbehave = null;
    const next = ledgerIn(directory);
    assert.equal(next.load(), { unreadable: [] });
    assert.equal(next.publishers(), [gvproxy.url]);
    const done = await reconcile(next)({ publisher: gvproxy.url, wanted: [], undecided: [], stale: [] });
    assert.equal(done, { exposed: [], unexposed: ['tcp/:8080'], faults: [] });
    assert.equal([gvproxy.forwards, next.of(gvproxy.url)], [[], []]);
  });
});

publisher('a port that the publisher refuses to remove does not block the others', async () => {
  await within(async ({ gvproxy, expose, unexpose }) => {
    assert.is(await expose(port(8080, { range: 4 })), null);
    gvproxy.misbehave = (path, { local }) => (path === 'unexpose' && local === ':8081' ? 'close' : 'well');
    assert.is((await unexpose(port(8080, { range: 4 })))?.code, 'PUBLISHER_FAILED');
    assert.equal(gvproxy.forwards, [`tcp :8081 ${US}:8081`]);
    gvproxy.misbehave = null;
    assert.is(await unexpose(port(9000)), null);
    assert.equal(gvproxy.forwards, []);
  });
});

publisher('a restarted publisher has forgotten everything, and gets it again', async () => {
  await within(async ({ gvproxy, expose, reconcile }) => {
    assert.is(await expose(port(8080), port(8081)), null);
    await gvproxy.stop();
    await gvproxy.start();
    assert.equal(gvproxy.forwards, []);
    const { exposed, unexposed, faults } = await reconcile([port(8080), port(8081)]);
    assert.equal([exposed.sort(), unexposed, faults], [['tcp/:8080', 'tcp/:8081'], [], []]);
    assert.equal(await reconcile([port(8080), port(8081)]), { exposed: [], unexposed: [], faults: [] });
  });
});

publisher('after a reboot, stale exposures are removed before new ones are made', async () => {
  await within(async ({ gvproxy, reconcile }) => {
    await gvproxy.have('tcp', ':8080', `${US}:8080`);
    await gvproxy.have('tcp', ':8081', `${US}:8081`);
    // The same socket: it is free only once the stale exposure is gone.
    const wanted = [port(8080, { outerIp: '127.0.0.1' }), port(8081)];
    const done = await reconcile(wanted, [port(8080), port(8081), port(8082)]);
    assert.equal(done, { exposed: ['tcp/127.0.0.1:8080'], unexposed: ['tcp/:8080'], faults: [] });
    assert.equal(gvproxy.forwards, [`tcp 127.0.0.1:8080 ${US}:8080`, `tcp :8081 ${US}:8081`]);
  });
});

publisher('calls run one after another, and the last request decides', async () => {
  await within(async ({ gvproxy, expose, unexpose, reconcile }) => {
    const ports = port(8080, { range: 20 });
    await Promise.all([reconcile([ports]), unexpose(ports), expose(ports), unexpose(ports)]);
    assert.equal(gvproxy.forwards, []);
    await Promise.all([expose(ports), unexpose(ports), expose(ports)]);
    assert.is(gvproxy.forwards.length, 20);
  });
});

publisher('many ports can be exposed at once', async () => {
  await within(async ({ gvproxy, expose, unexpose }) => {
    const ports = port(20_000, { range: 200 });
    assert.is(await expose(ports), null);
    assert.is(gvproxy.forwards.length, 200);
    assert.is(await unexpose(ports), null);
    assert.is(gvproxy.forwards.length, 0);
  });
});

publisher('a ledger that cannot be parsed is set aside', () => {
  const folder = join(scratch(), 'exposed.json');
  mkdirSync(folder);
  assert.equal(ledgerIn(dirname(folder)).load(), { unreadable: [`${folder}.unreadable`] });
  for (const text of ['', '{}', '{"version":2,"exposed":[]}', '{"version":1,"exposed":[{"local":":1"}]}']) {
    const directory = scratch();
    const file = join(directory, 'exposed.json');
    writeFileSync(file, text);
    const store = ledgerIn(directory);
    assert.equal(store.load(), { unreadable: [`${file}.unreadable`] });
    assert.is(readFileSync(`${file}.unreadable`, 'utf8'), text);
    store.add('http://p', [{ protocol: 'tcp', local: ':1', remote: 'a:1' }]);
    const again = ledgerIn(directory);
    assert.equal([again.load().unreadable, again.publishers()], [[], ['http://p']]);
  }
});

publisher('a port that cannot be written to the ledger is not requested', async () => {
  await within(async ({ gvproxy }) => {
    const directory = scratch();
    const ledger = ledgerIn(directory);
    rmSync(directory, { recursive: true });
    const fault = await faultOf(expose(ledger)({ publisher: gvproxy.url, ports: [port(8080)] }));
    assert.is(fault?.code, 'STATE_UNWRITABLE');
    assert.equal(gvproxy.forwards, []);
  });
});

publisher.run();
