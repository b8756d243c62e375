/**
 * Sends an event from another process on the machine, with other credentials than the test's.
 *
 * Guarantees: always an answer: the status and the code (or state), or the errno name of a refused connection.
 */
import { spawnSync } from 'node:child_process';
import type { TestDaemon } from './daemon.ts';

const PROGRAM = `
  const [socketPath, body, path] = process.argv.slice(1);
  const headers = { 'content-type': 'application/json' };
  const outgoing = require('node:http').request({ socketPath, method: 'POST', path, headers });
  outgoing.on('error', ({ code }) => console.log(code));
  outgoing.on('response', async (answer) => {
    const { error, state } = JSON.parse((await answer.toArray()).join(''));
    console.log(answer.statusCode, error?.code ?? state);
  });
  outgoing.end(body);`;

/** The beginning of a command that runs as this user and in this group alone (setpriv(1)). */
export function asUser(uid: number, gid: number): string[] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
}

/** Sends it from a process that was started with `prefix`: setpriv, unshare. */
export function sayAs(
  daemon: TestDaemon,
  [command = '', ...prefix]: readonly string[],
  event: object,
  path = '/v1/events',
): string {
  const argv = [...prefix, process.execPath, '-e', PROGRAM, daemon.socket, JSON.stringify(event), path];
  return spawnSync(command, argv, { encoding: 'utf8', cwd: '/' }).stdout.trim();
}
