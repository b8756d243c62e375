/**
 * What a program of others finds in its sandbox: where resolv.conf really is, on hosts of every layout; what is mounted, and in
 * which order.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { launching, planSandbox, walk, type Found, type Look, type Mount } from '../../plan/external/sandbox.ts';

const sandbox = suite('plan of the sandbox');

/** A host's files: paths that end with / are directories, values are the targets of links. Directories above are there. */
function host(files: Readonly<Record<string, string | true>>): Look {
  const all = new Map<string, Found>([['/', 'directory']]);
  for (const [path, target] of Object.entries(files)) {
    const name = path.replace(/\/$/, '');
    for (let end = name.indexOf('/', 1); end > 0; end = name.indexOf('/', end + 1))
      all.set(name.slice(0, end), 'directory');
    all.set(name, target !== true ? { link: target } : path.endsWith('/') ? 'directory' : 'file');
  }
  return (path) => all.get(path) ?? null;
}

/** Every host has these. */
const USUAL = { '/run/user/': true, '/run/netns/': true, '/var/lib/cni/': true } as const;
const SYSTEMD = { '/run/systemd/resolve/stub-resolv.conf': true, '/run/systemd/resolve/resolv.conf': true } as const;
const STUB = '/run/systemd/resolve/stub-resolv.conf';

const text = ({ from, to }: Mount) => `${from ?? 'tmpfs'} ${to}`;
const planned = (files: Record<string, string | true>, needed = ['/run/netns/c']) => {
  const { mounts, beside } = planSandbox('/s', needed, host({ ...USUAL, ...files }));
  return { mounts: mounts.map(text), beside };
};

sandbox('resolv.conf: where ours is mounted, and what is made for it', () => {
  const rows: [what: string, files: Record<string, string | true>, at: string | null][] = [
    ['a file', { '/etc/resolv.conf': true }, '/etc/resolv.conf'],
    ['none', {}, null],
    ['a directory', { '/etc/resolv.conf/': true }, null],
    ['systemd-resolved, absolute', { ...SYSTEMD, '/etc/resolv.conf': STUB }, `/s${STUB}`],
    ['systemd-resolved, relative', { ...SYSTEMD, '/etc/resolv.conf': `..${STUB}` }, `/s${STUB}`],
    [
      'its upstream servers',
      { ...SYSTEMD, '/etc/resolv.conf': '/run/systemd/resolve/resolv.conf' },
      '/s/run/systemd/resolve/resolv.conf',
    ],
    // The first path below /run counts, although that is a link: nothing else of /run is there.
    [
      'a chain in /run',
      { '/run/systemd/resolve/resolv.conf': true, [STUB]: 'resolv.conf', '/etc/resolv.conf': STUB },
      `/s${STUB}`,
    ],
    [
      'a chain of two',
      { '/etc/resolv.conf': 'one', '/etc/one': '/usr/lib/two', '/usr/lib/two': '../../etc/three', '/etc/three': true },
      '/etc/three',
    ],
    ['systemd-resolved is not there', { '/run/systemd/': true, '/etc/resolv.conf': STUB }, null],
    ['nor systemd', { '/etc/resolv.conf': STUB }, `/s${STUB}`],
    [
      'NetworkManager',
      { '/run/NetworkManager/resolv.conf': true, '/etc/resolv.conf': '/run/NetworkManager/resolv.conf' },
      '/s/run/NetworkManager/resolv.conf',
    ],
    ['dangling in /run', { '/etc/resolv.conf': '../run/resolvconf/resolv.conf' }, '/s/run/resolvconf/resolv.conf'],
    ['dangling elsewhere', { '/etc/resolv.conf': '/opt/none/resolv.conf' }, null],
    ['through a file', { '/etc/resolv.conf': '/etc/passwd/resolv.conf', '/etc/passwd': true }, null],
    [
      'by a directory that is a link',
      { '/var/run': '/run', '/etc/resolv.conf': '/var/run/x/resolv.conf' },
      '/s/run/x/resolv.conf',
    ],
    [
      'the same, relative',
      { '/var/run': '../run', '/etc/resolv.conf': '../var/run/x/resolv.conf' },
      '/s/run/x/resolv.conf',
    ],
    ['/etc is a link', { '/etc': 'usr/etc', '/usr/etc/resolv.conf': true }, '/usr/etc/resolv.conf'],
    [
      '.. after a link is above its target',
      { '/a': '/usr/lib/b', '/usr/lib/b/': true, '/usr/lib/r': true, '/etc/resolv.conf': '/a/../r' },
      '/usr/lib/r',
    ],
    [
      'into /run and out again',
      { '/etc/resolv.conf': '/run/x/../../opt/r', '/run/x/': true, '/opt/r': true },
      '/opt/r',
    ],
    ['above the root', { '/etc/resolv.conf': '../../../opt/r', '/opt/r': true }, '/opt/r'],
    ['a circle', { '/etc/resolv.conf': 'b', '/etc/b': 'resolv.conf' }, null],
    ['/run itself', { '/etc/resolv.conf': '/run' }, null],
    // Below what is shown of /run, the host's own file is covered; where there is none, none can be made.
    ["the user's own", { '/run/user/7/r': true, '/etc/resolv.conf': '/run/user/7/r' }, '/s/run/user/7/r'],
    ["the user's own, dangling", { '/etc/resolv.conf': '/run/user/7/r' }, null],
    ['shown, and out of it', { '/run/user/7/r': '/run/x/r', '/etc/resolv.conf': '/run/user/7/r' }, '/s/run/x/r'],
    // Below what is mounted over for the state of plugins.
    ['in their state', { '/etc/resolv.conf': '/var/lib/cni/r' }, '/s/var/lib/cni/r'],
    ['beside it', { '/etc/resolv.conf': '/var/lib/x/r', '/var/lib/x/r': true }, '/var/lib/x/r'],
  ];
  for (const [what, files, at] of rows) {
    const found = planned(files).mounts.filter((mount) => mount.startsWith('/s/resolv.conf '));
    assert.equal(found, at === null ? [] : [`/s/resolv.conf ${at}`], what);
  }
});

sandbox('as many links are followed as the kernel follows', () => {
  const chain = (count: number) =>
    host({
      ...Object.fromEntries(Array.from({ length: count }, (_, i) => [`/l${i}`, `l${i + 1}`])),
      [`/l${count}`]: true,
    });
  assert.is(walk('/l0', chain(40))?.path, '/l40');
  assert.is(walk('/l0', chain(41)), null);
});

sandbox('a path ends at what it leads to', () => {
  const files = host({ '/a/b/': true, '/a/f': true, '/l': 'a/./b' });
  assert.equal(walk('/l/../f', files), { path: '/a/f', found: 'file' });
  assert.equal(walk('//l/', files), { path: '/a/b', found: 'directory' });
  assert.equal(walk('/', files), { path: '/', found: 'directory' });
  assert.is(walk('/a/f/..', files), null);
});

sandbox('the mounts stand in their order: what the program needs, resolv.conf, its state, and /run at last', () => {
  const files = { ...SYSTEMD, '/etc/resolv.conf': STUB };
  assert.equal(planned(files).mounts, [
    '/run/user /s/run/user',
    '/run/systemd /s/run/systemd',
    '/run/netns /s/run/netns',
    'tmpfs /s/run/systemd/resolve',
    `/s/resolv.conf /s${STUB}`,
    '/s/var/lib/cni /var/lib/cni',
    '/s/run /run',
  ]);
});

sandbox('of /run a program finds what it needs, each once, if it is there', () => {
  const needed = [
    '/run/netns/c',
    '/run/mine/netns/d',
    '/run/mine/spares/d',
    '/usr/lib/cni/bridge',
    '/run/none/x',
    '/runs/x',
    '/run',
  ];
  const { mounts } = planned({ '/run/mine/': true, '/run/dbus/': true, '/run/xtables.lock': true }, needed);
  assert.equal(mounts, [
    '/run/user /s/run/user',
    '/run/netns /s/run/netns',
    '/run/mine /s/run/mine',
    '/s/var/lib/cni /var/lib/cni',
    '/s/run /run',
  ]);
});

sandbox('systemd-resolved keeps its directory, unless resolv.conf leads there', () => {
  assert.not.ok(planned({ ...SYSTEMD, '/etc/resolv.conf': true }).mounts.some((mount) => mount.startsWith('tmpfs')));
});

sandbox('the nearest directory on the way to the state is mounted over, and shows what the host has beside it', () => {
  const rows: [what: string, files: Record<string, string | true>, mounts: string[], beside: object | null][] = [
    ['there', {}, ['/s/var/lib/cni /var/lib/cni'], null],
    ['a link', { '/var/lib/cni': '/data/cni', '/data/cni/': true }, ['/s/var/lib/cni /data/cni'], null],
    [
      'none',
      { '/var/lib/cni': '/none', '/var/lib/x/': true },
      ['/var/lib /s/var/lib/.host', '/s/var/lib /var/lib'],
      { directory: '/var/lib', at: '/s/var/lib', own: 'cni' },
    ],
    [
      'a file',
      { '/var/lib/cni': true },
      ['/var/lib /s/var/lib/.host', '/s/var/lib /var/lib'],
      { directory: '/var/lib', at: '/s/var/lib', own: 'cni' },
    ],
  ];
  for (const [what, files, mounts, beside] of rows) {
    const plan = planSandbox('/s', [], host({ '/var/lib/cni/': true, ...files }));
    assert.equal(plan.mounts.map(text), [...mounts, '/s/run /run'], what);
    assert.equal(plan.beside, beside, what);
  }
  const lib = planSandbox('/s', [], host({ '/var/': true }));
  assert.equal(lib.mounts.map(text), ['/var /s/var/.host', '/s/var /var', '/s/run /run']);
  assert.equal(lib.beside, { directory: '/var', at: '/s/var', own: 'lib' });
  assert.equal(planSandbox('/s', [], host({})).mounts.map(text), ['/s/run /run']);
  // What is mounted at a file there is in the copy, because it is mounted before.
  const files = { '/var/lib/x/r': true, '/etc/resolv.conf': '/var/lib/x/r' } as const;
  assert.equal(planSandbox('/s', [], host(files)).mounts.map(text), [
    '/s/resolv.conf /var/lib/x/r',
    '/var/lib /s/var/lib/.host',
    '/s/var/lib /var/lib',
    '/s/run /run',
  ]);
});

sandbox('the launcher gets the mounts as words', () => {
  assert.equal(
    launching('/l', [
      { from: '/a', to: '/b' },
      { from: null, to: '/c' },
    ]),
    ['/l', '--bind', '/a', '/b', '--tmpfs', '/c', '--'],
  );
  assert.equal(launching('/l', []), ['/l', '--']);
});

sandbox.run();
