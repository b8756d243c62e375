// slow: 20 s, each row of the document is a command
/**
 * docs/docker.md: every command of its first table is run as it stands, in the order of the rows, with the real client, and ends as the
 * row says; its second table has the options that are translated, and no other.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DOCKER_OPTIONS } from '../../service/fronts/docker/docker-create.ts';
import { documentShell } from '../harness/document-shell.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const HOME = '/run/docker-document';
const SOCKET = `${HOME}/docker.sock`;
const DOCUMENT = readFileSync(join(ROOT, 'docs/docker.md'), 'utf8');
const document = suite('docker document');

const rowsBelow = (heading: string): string[][] => {
  const [, section = ''] = DOCUMENT.split(`\n## ${heading}\n`);
  const [text = ''] = section.split('\n## ');
  return [...text.matchAll(/^\| `([^`]+)` *\| (.*?) *\|$/gm)].map(([, first = '', second = '']) => [first, second]);
};

const shell = documentShell(HOME, { HOME, DOCKER_HOST: `unix://${SOCKET}` });

document('each command ends as its row says', () => {
  const started = shell(`cleat daemon --detach --docker-socket ${SOCKET}`);
  assert.is(started.status, 0, started.stderr);
  const rows = rowsBelow('Commands');
  assert.ok(rows.length > 30, String(rows.length));
  for (const [command = '', text = ''] of rows) {
    assert.match(command, /^(docker|cleat) /);
    const { status, stdout, stderr } = shell(command);
    const [, words] = /^refused: `(.+)`$/.exec(text) ?? [];
    const said = `${command}:\n${stderr}${stdout}`;
    if (words === undefined) {
      assert.is(status, 0, said);
      continue;
    }
    assert.ok(status !== 0 && stderr.includes(words), said);
    assert.not.match(stderr, /[{}]/, said); // the client has read the message, and shows no JSON
  }
});

document('the options of the table are those that are translated', () => {
  assert.equal(
    rowsBelow('Options').map(([name]) => name),
    Object.keys(DOCKER_OPTIONS),
  );
});

document.after(() => {
  shell('cleat stop web; kill $(cleat version --format "{{.daemon.pid}}")');
});

document.run();
