// slow: 30 s, two runtimes, each with several containers
/**
 * The bundle of docs/oci-hook.md, as it is written there, with the real crun and the real runc; what its annotations, its
 * namespaces and the arguments of its hooks can say besides; and the real conmon, which a container's network ends with.
 *
 * Limits: runc and crun make cgroups in the private cgroup v2 of the test.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import { dial } from '../harness/agent.ts';
import { ended } from '../harness/inside.ts';
import { requestJson } from '../harness/request-json.ts';
import { endExitEnds, ExitEnds } from '../harness/exit-ends.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT, run } from './run.ts';

requirePrivateNamespace();

const SOCKET = '/run/cleat/cleat.sock';
const MAIN = join(ROOT, 'dist/bundle/cleat.cjs');

/** The shell commands of the section. */
const [, section = ''] = readFileSync(join(ROOT, 'docs/oci-hook.md'), 'utf8').split('## A bundle that works');
const [WRITE = '', RUN = ''] = Array.from(
  (section.split('\n## ')[0] ?? '').matchAll(/```sh\n([^]*?)```/g),
  ([, block = '']) => block,
);

const bundles = suite('documented bundle');
const directory = mkdtempSync(join(tmpdir(), 'bundle-'));
let daemon: ChildProcess;

async function startDaemon(): Promise<void> {
  const places = ['state', 'netns'].flatMap((name) => [`--${name}-dir`, join(directory, name)]);
  daemon = spawn(process.execPath, [MAIN, 'daemon', ...places], { stdio: 'ignore' });
  await until('the daemon answers', async () => (await ask('/v1/version').catch(() => undefined))?.status === 200);
}

bundles.before(async () => {
  // What the commands install comes into a folder of the test's own.
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/usr/libexec']);
  await startDaemon();
  const back = JSON.stringify({ name: 'back', subnets: [{ subnet: '10.91.0.0/24' }] });
  const made = await requestJson(SOCKET, 'POST', '/v1/networks', back);
  assert.is(made.status, 201, JSON.stringify(made.body));
});
// Removes what a failed test has left, so that the next test starts clean.
bundles.after.each(async () => {
  for (const runtime of ['crun', 'runc']) {
    await shell(`for id in $(${runtime} list --quiet); do ${runtime} delete --force $id; done`);
  }
  await until('no container is left', async () => ((await ask('/v1/containers')).body as unknown[]).length === 0);
});
bundles.after(async () => {
  await endExitEnds();
  daemon.kill();
});

const ask = (path: string) => requestJson(SOCKET, 'GET', path);

async function view(id: string): Promise<ContainerView | undefined> {
  const { status, body } = await ask(`/v1/containers/${id}`);
  return status === 404 ? undefined : (body as ContainerView);
}

const gone = (id: string) => until(`${id} is gone`, async () => (await view(id)) === undefined);

/** Runs a script as a shell does. A container keeps its output open, so that goes to a file. */
async function shell(script: string): Promise<string> {
  const output = join(directory, 'output');
  const text = `cleat() { ${process.execPath} ${MAIN} "$@"; }\n${script}`;
  const ended = await run('bash', ['-c', `exec >${output} 2>&1 </dev/null; set -e\ncd ${ROOT}\n${text}`], '');
  const said = readFileSync(output, 'utf8');
  assert.is(ended.code, 0, said);
  return said;
}

interface Config {
  annotations: Record<string, string>;
  hooks: Record<'createRuntime' | 'poststop', { args: string[] }[]>;
  linux: { namespaces: { type: string; path?: string }[] };
}

/** Writes the documented bundle with these changes; returns its directory. */
async function bundle(change: (config: Config) => void): Promise<string> {
  rmSync('/run/bundles', { recursive: true, force: true });
  await shell(WRITE);
  const path = mkdtempSync(join(directory, 'b-'));
  execFileSync('cp', ['-a', '/run/bundles/web/.', path]);
  const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Config;
  change(config);
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  return path;
}

/** The names of the links in the namespace of a process. */
function linksOf(pid: number): string[] {
  const text = execFileSync('nsenter', ['-t', `${pid}`, '-n', 'ip', '-j', 'link'], { encoding: 'utf8' });
  return (JSON.parse(text) as { ifname: string }[]).map(({ ifname }) => ifname).sort();
}

async function pidOf(id: string): Promise<number> {
  const found = await view(id);
  assert.ok(found !== undefined && found.bound_to !== null);
  return found.bound_to;
}

for (const runtime of ['crun', 'runc']) {
  const start = (id: string, path: string) => shell(`cd ${path}; ${runtime} run --detach ${id}`);
  const remove = (...ids: string[]) => shell(ids.map((id) => `${runtime} delete --force ${id}`).join('\n'));

  bundles(`the documented commands run as they are, with ${runtime}`, async () => {
    rmSync('/run/bundles', { recursive: true, force: true });
    const said = await shell(`${WRITE}\n${RUN.replaceAll('crun', runtime)}`);
    assert.match(said, /Directory listing for \//);
    assert.match(said, /"hostname": "shop"/);
    await gone('web');
  });

  bundles(`an annotation chooses an uplink, with ${runtime}`, async () => {
    const path = await bundle(({ annotations }) => {
      annotations['cleat.network'] = 'slirp4netns:mtu=1500';
    });
    await start('up', path);
    const up = await view('up');
    assert.ok(up?.uplink?.program === 'slirp4netns');
    assert.equal([up.state, up.uplink.mtu], ['up', 1500]);
    const said = await shell('curl --silent --show-error --retry 5 --retry-all-errors http://127.0.0.1:8080/');
    assert.match(said, /Directory listing/);
    await remove('up');
    await gone('up');
  });

  bundles(`the member of a pod has the pod's network, and one more if it asks, with ${runtime}`, async () => {
    await start('infra', await bundle(() => {}));
    const pid = await pidOf('infra');
    const member = (annotations: Record<string, string>) =>
      bundle((config) => {
        config.annotations = annotations;
        config.linux.namespaces[0] = { type: 'network', path: `/proc/${pid}/ns/net` };
      });
    await start('member', await member({ 'org.example': 'x' }));
    assert.is(await view('member'), undefined);
    assert.equal(linksOf(pid), ['eth0', 'lo']);
    await start('asks', await member({ 'cleat.network': 'back', 'cleat.interface.back': 'lan1' }));
    assert.equal(linksOf(pid), ['eth0', 'lan1', 'lo']);
    await remove('member', 'asks');
    await gone('asks');
    assert.is((await view('infra'))?.state, 'up');
    assert.equal(linksOf(pid), ['eth0', 'lo']);
    await remove('infra');
    await gone('infra');
  });

  bundles(`the network ends with the descriptor of the hook, while the container runs, with ${runtime}`, async () => {
    const ends = await ExitEnds.make('pipe');
    const path = await bundle((config) => {
      const [create] = config.hooks.createRuntime;
      assert.ok(create);
      create.args = ['cleat-oci-hook', '--exit-fd', `${ends.pid}:${ends.fd}`, 'createRuntime'];
    });
    await start('tied', path);
    await ends.leave();
    const pid = await pidOf('tied');
    assert.equal(linksOf(pid), ['eth0', 'lo']);
    await ends.close();
    await gone('tied');
    assert.ok(readdirSync('/proc').includes(`${pid}`), 'it runs');
    await until('its link is gone', () => linksOf(pid).join() === 'lo');
    await remove('tied');
  });
}
/** What an engine does: only conmon keeps the write end, and the engine itself ends. Prints conmon's pid. */
const ENGINE = `
import json, os, subprocess, sys, time
bundle, run = sys.argv[1:]
read, write = os.pipe()
config = json.load(open(bundle + '/config.json'))
hook = config['hooks']['createRuntime'][0]
hook['args'] = ['cleat-oci-hook', '--exit-fd', '%d:%d' % (os.getpid(), read), 'createRuntime']
json.dump(config, open(bundle + '/config.json', 'w'))
subprocess.run(['conmon', '--cid', 'job', '--cuuid', 'a' * 64, '--runtime', '/usr/bin/crun', '--bundle', bundle,
  '--container-pidfile', run + '/pid', '--conmon-pidfile', run + '/conmon', '--log-path', 'k8s-file:' + run + '/log',
  '--socket-dir-path', run, '--exit-dir', run], pass_fds=[write], stdin=subprocess.DEVNULL, check=True)
os.close(write)
for _ in range(1000):
    if os.path.exists(run + '/pid'):
        break
    time.sleep(0.02)
subprocess.run(['crun', 'start', 'job'], check=True)
print(open(run + '/conmon').read())
`;

bundles(
  'slirp4netns and ports end with the real conmon while no daemon runs, though the container goes on',
  async () => {
    const path = await bundle(({ annotations }) => {
      annotations['cleat.network'] = 'slirp4netns';
    });
    const own = mkdtempSync(join(directory, 'conmon-'));
    writeFileSync(join(directory, 'engine.py'), ENGINE);
    const conmon = Number(await shell(`python3 ${directory}/engine.py ${path} ${own}`));
    const up = (await ask('/v1/containers/job')).body as Inspection;
    const pid = await pidOf('job');
    const program = up.uplink?.process?.pid;
    assert.ok(conmon > 1 && program);
    const isOpen = async () => (await dial('tcp', '127.0.0.1', 8080)) !== 'ECONNREFUSED';
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
    assert.ok(await isOpen());
    process.kill(conmon, 'SIGKILL');
    await ended(program);
    await until('the port is closed', async () => !(await isOpen()));
    assert.ok(readdirSync('/proc').includes(`${pid}`), 'the container runs');
    await startDaemon();
    await gone('job');
  },
);
bundles.run();
