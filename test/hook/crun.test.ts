/**
 * cleat-oci-hook with the real daemon and the real crun: the network exists before the program starts, nothing is left
 * after it, and one runtime cannot harm the containers of another.
 *
 * Limits: crun runs without cgroups here; the hooks do not know them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_NETWORK } from '../../state/network.ts';
import { until } from '../harness/native.ts';
import { requestJson } from '../harness/request-json.ts';
import { type Ended, HOOK, ROOT, run } from './run.ts';

/** The bundle of scripts/demo-bundle.mjs, which is plain JavaScript because of the demo. */
interface Bundles {
  writeBundle(bundle: {
    directory: string;
    args: string[];
    annotations: Record<string, string>;
    hook: string;
    socket: string;
    hookLog: string;
  }): void;
}

const real = suite('hook with crun');
const directory = mkdtempSync(join(tmpdir(), 'crun-'));
const socket = join(directory, 's');
let daemon: ChildProcess;
let bundles: Bundles;

real.before(async () => {
  // oxlint-disable-next-line import/no-dynamic-require -- compiled tests are one folder further down than sources
  bundles = (await import(pathToFileURL(join(ROOT, 'scripts/demo-bundle.mjs')).href)) as Bundles;
  const places = ['run', 'state', 'netns'].flatMap((name) => [`--${name}-dir`, join(directory, name)]);
  const argv = [join(ROOT, 'dist/bundle/cleat.cjs'), 'daemon', ...places, '--socket', socket];
  daemon = spawn(process.execPath, argv, { stdio: 'ignore' });
  await until('the daemon answers', async () => (await ask('/v1/version').catch(() => undefined))?.status === 200);
});
real.after(() => void daemon.kill());

const ask = (path: string) => requestJson(socket, 'GET', path);

function crun(...args: string[]): Promise<Ended> {
  return run('crun', ['--root', join(directory, 'crun'), '--cgroup-manager=disabled', ...args], '');
}

/** Creates, but does not start: the network exists before the program runs. `stderr` is the hook's. */
async function crunCreate(id: string, annotations: Record<string, string>, runtime = 'crun'): Promise<Ended> {
  const bundle = join(directory, `bundle-${id}`);
  const hookLog = join(bundle, 'hook.log');
  if (!existsSync(bundle)) {
    mkdirSync(bundle);
    bundles.writeBundle({ directory: bundle, args: ['sleep', '1000'], annotations, hook: HOOK, socket, hookLog });
  }
  writeFileSync(hookLog, '');
  // A container keeps the output of `crun create` open: a pipe would never end.
  const script = 'exec crun "$@" >/dev/null 2>&1 </dev/null';
  const argv = ['--root', join(directory, runtime), '--cgroup-manager=disabled', 'create', '--bundle', bundle, id];
  const ended = await run('sh', ['-c', script, 'crun', ...argv], '');
  return { ...ended, stderr: readFileSync(hookLog, 'utf8') };
}

interface View {
  state: string;
  bound_to: number;
  networks: Record<string, { interfaces: Record<string, { subnets: { ipnet: string }[] }> }>;
}

async function view(id: string): Promise<View | undefined> {
  const { status, body } = await ask(`/v1/containers/${id}`);
  return status === 404 ? undefined : (body as View);
}

const gone = (id: string) => until(`${id} is gone`, async () => (await view(id)) === undefined);

real('a container has its network before it starts, and nothing is left after it', async () => {
  const create = await crunCreate('web1', { 'cleat.ports': '8080:80/tcp' });
  assert.is(create.code, 0, create.stderr);
  const up = await view('web1');
  assert.ok(up);
  assert.is(up.state, 'up');
  const subnets = up.networks[DEFAULT_NETWORK]?.interfaces.eth0?.subnets ?? [];
  const pid = String(up.bound_to);
  const inside = await run('nsenter', ['-t', pid, '-n', 'ip', '-o', 'address', 'show', 'dev', 'eth0'], '');
  assert.ok(subnets.length > 0);
  for (const { ipnet } of subnets) assert.ok(inside.stdout.includes(ipnet), inside.stdout + inside.stderr);

  const again = await crunCreate('web2', { 'cleat.ports': '8080:80/tcp' });
  assert.is.not(again.code, 0, 'the port is taken');
  assert.match(again.stderr, /8080.*PORT_TAKEN/);
  await gone('web2');

  assert.is((await crun('delete', '--force', 'web1')).code, 0);
  await gone('web1');
});

real('an id can be used again at once', async () => {
  for (let round = 0; round < 3; round++) {
    const create = await crunCreate('again', { 'cleat.ports': '8081:80/tcp' });
    assert.is(create.code, 0, create.stderr);
    const remove = await crun('delete', '--force', 'again');
    assert.is(remove.code, 0, remove.stderr);
  }
  await gone('again');
});

real('an id that another runtime uses is refused, and the container of that runtime left alone', async () => {
  assert.is((await crunCreate('shared', {})).code, 0);
  const before = await view('shared');
  const second = await crunCreate('shared', {}, 'other');
  assert.is.not(second.code, 0);
  assert.match(second.stderr, /shared exists already \(up\)/);
  assert.equal(await view('shared'), before);
  assert.is((await crun('delete', '--force', 'shared')).code, 0);
  await gone('shared');
});
real.run();
