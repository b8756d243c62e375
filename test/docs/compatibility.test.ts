// slow: 40 s, each row of the document is a command, and Node takes a moment to start
/**
 *
 * docs/compatibility.md: every command of its last column is run as it stands, in the order of the rows, and ends as the row says.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { documentShell } from '../harness/document-shell.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const HOME = '/run/compatibility';
const compatibility = suite('compatibility');

/** The commands, with the exit code that the row states, and the words that it says are in the answer. */
const rows = readFileSync(join(ROOT, 'docs/compatibility.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| .*`.*\|$/.test(line))
  .map((line) => {
    const cell = line.split('|').at(-2) ?? '';
    const [, command = '', code = '0', words] = /^ `([^`]+)`(?: \((\d)\))?(?:: .*`([^`]+)`)? *$/.exec(cell) ?? [];
    return { line, command, code: Number(code), words };
  });

const shell = documentShell(HOME);

compatibility('each command ends as its row says', () => {
  assert.ok(rows.length > 35, String(rows.length));
  for (const { line, command, code, words } of rows) {
    assert.match(command, /^(NO_COLOR=1 )?cleat /, line);
    const { status, stdout, stderr } = shell(command);
    assert.is(status, code, `${command}:\n${stderr}${stdout}`);
    if (words !== undefined) assert.ok(stderr.includes(words), `${command}:\n${stderr}`);
    if (code === 0) assert.not.match(stderr, /^Error/m, command);
  }
});

compatibility.after(() => {
  shell('cleat stop web db; kill $(cleat version --format "{{.daemon.pid}}")');
});

compatibility.run();
