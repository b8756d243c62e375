/** One request to a daemon by its socket, for tests that start the daemon as a user does. */
import { request } from 'node:http';

export function requestJson(
  socketPath: string,
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; body: unknown }> {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((settle, fail) => {
    const outgoing = request({ socketPath, method, path, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (more: string) => (text += more));
      answer.on('end', () => settle({ status: answer.statusCode ?? 0, body: JSON.parse(text) }));
    });
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}
