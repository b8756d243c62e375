/**
 * Runs a test file as an ordinary user: `node as-user.js SCRIPT`, started by the test runner as root.
 *
 * It makes the user, and starts the script in the namespaces of the user's cleat, where the script is root and sees the
 * bridges, rules, mounts and files that the user's daemon makes. We stay in the network of the runner's namespaces, which
 * stands for the host, and do there what the script asks (host.ts).
 *
 * Guarantees: ends with the status of the script, whatever it has started.
 */
import { spawn } from 'node:child_process';
import { chownSync, closeSync, openSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { dial } from './agent.ts';
import type { Answer, Asked } from './host.ts';
import { built } from './native.ts';
import { TestUser } from './rootless.ts';

const OUTSIDE = '/run/netns/rootless';

const [script = ''] = process.argv.slice(2);
const user = new TestUser('tester', 1801);
const scratch = process.env['TMPDIR'] ?? '';
chownSync(scratch, user.uid, user.uid);
const environment = { ...process.env, ...user.environment, CLEAT_AS_USER: '1' };

const node = [process.execPath, ...process.execArgv, script];
const [program = '', ...rest] = [...user.prefix, built('cleat-rootless'), '--net', OUTSIDE, '--', ...node];
const test = spawn(program, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: environment });

test.on('message', (asked: Asked) => {
  if (asked.do === 'spawn') start(asked);
  else if (asked.do === 'connect') connect(asked);
  else void dial(asked.protocol, asked.host, asked.port, asked.timeoutMs).then((said) => tell({ id: asked.id, said }));
});
test.on('exit', (code) => process.exit(code ?? 1));

function tell(answer: Answer, socket?: Socket): void {
  test.send(answer, socket, {}, () => {}); // it may have ended
}

function start({ id, command, environment: own, log }: Asked & { do: 'spawn' }): void {
  // The file is in a mount namespace of the user's, which alone may make files there.
  const output = openSync(`/proc/${test.pid}/root${log}`, 'a');
  const [file = '', ...args] = [...user.prefix, ...command];
  const child = spawn(file, args, { stdio: ['ignore', output, output], env: own, cwd: '/' });
  closeSync(output);
  child.on('spawn', () => tell({ id, pid: child.pid ?? 0 }));
  child.on('error', () => tell({ id, exit: { code: 127, signal: null } }));
  child.on('exit', (code, signal) => tell({ id, exit: { code, signal } }));
}

function connect({ id, host, port }: Asked & { do: 'connect' }): void {
  const socket = createConnection({ host, port }).pause(); // what comes is for the test
  socket.once('connect', () => tell({ id, connected: true }, socket));
  socket.once('error', () => tell({ id, connected: false }));
}
