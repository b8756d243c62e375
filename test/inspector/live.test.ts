// proving only: 600
// slow: 30 s, a daemon, `cleat inspector` and a browser, and a slirp4netns that is killed
/**
 * The page before a real daemon, through `cleat inspector`: what the kernel and others do is seen on it, what is done on it is
 * done, and the past can be gone through, of a container and of a file.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Page } from 'playwright-core';
import { TestDaemon, on, pathOf, port } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { PageBrowser, assertAccessible, goTo } from '../harness/page-browser.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { uplinksOf } from '../harness/programs.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const PROGRAM = join(import.meta.dirname, '../../bundle/cleat.cjs');

const live = suite('the page before a daemon');
const daemon = new TestDaemon();
let browser: PageBrowser;
const inspectors: ChildProcess[] = [];

/** Runs `cleat inspector`; returns the address that it prints. */
async function inspector(...words: string[]): Promise<string> {
  const argv = [PROGRAM, '--socket', daemon.socket, 'inspector', '--print-url', ...words];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  inspectors.push(child);
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  await until(`cleat inspector prints an address: ${said}`, () => /^http:\S+\n/.test(said));
  return said.trim();
}

const row = (id: string, text: string): string => `#container-${id}:has-text("${text}")`;

live.before(async () => {
  browser = await PageBrowser.start();
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.50.0.0/24' }] });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.51.0.0/24' }] });
});
live.after.each(async () => {
  await browser.close();
  for (const child of inspectors.splice(0)) child.kill();
  await clear(daemon);
});
live.after(async () => {
  await browser.stop();
  await daemon.stop();
});

async function openPage(fragment = '', expected: readonly RegExp[] = []): Promise<Page> {
  const page = await browser.open(await inspector(), {}, expected);
  await page.waitForSelector('.connection.live');
  await goTo(page, fragment);
  return page;
}

live('a container that is created, configured and connected is seen at every step', async () => {
  const page = await openPage();
  assert.not.match(page.url(), /token/);
  await page.waitForSelector('text=There is no container.');
  await daemon.done({ type: 'create', id: 'web1', networks: on('web'), port_mappings: [port(8080, 80)] });
  await page.click(row('web1', 'created'));
  await page.waitForSelector('.chart [data-node="created"].here');
  await page.click('.actions >> text="configure"');
  await page.waitForSelector('text=configure web1: now up.');
  await page.waitForSelector(row('web1', '10.50.0.'));
  await page.waitForSelector('.chart [data-node="up"].here');
  await page.click('.actions >> text="connect"');
  await page.selectOption('#field-network', 'back');
  await page.click('dialog >> role=button[name="connect"]');
  await page.waitForSelector('text=connect web1: now up.');
  await page.waitForSelector(row('web1', '10.51.0.'));
  // Where the milliseconds of the configuration went.
  await page.click('#tab-waterfall');
  await page.click('summary:has-text("configure")');
  await page.waitForSelector('details[open]:has-text("configure") >> .bar-row:has-text("ensureLink")');
  assert.match(await page.innerText('.operations'), /configure[\s\S]*Longest: [\w ]+, [\d.]+ m?s of [\d.]+ m?s/);
  // What leads where.
  await goTo(page, '#/map');
  await page.waitForSelector('.card:has-text("web1") >> text=10.51.0.');
  await page.waitForSelector('g.port:has-text("*:8080->80/tcp")');
  await goTo(page, '#/shared');
  await page.click('.row:has-text("network web")');
  await page.waitForSelector('.users >> text=web1');
  await page.waitForSelector('.chart [data-node="up"].here');
  await assertAccessible(page, 'a real network');
  browser.assertQuiet();
});

live('time travel goes through the journal, with what was in the kernel at each moment', async () => {
  await daemon.up('web2', { networks: on('web'), port_mappings: [port(8081, 80)] });
  const page = await openPage('#/containers/web2');
  await page.click('#tab-snapshot');
  await page.waitForSelector('.objects >> text=/8081/');
  await page.click('role=button[name="Compare from here"]');
  await page.focus('input[type=range]');
  await page.keyboard.press('Home');
  await page.waitForSelector('text=past: ');
  await page.waitForSelector('#panel-snapshot >> text=/became/');
  assert.match(await page.innerText('#panel-snapshot'), /\+ namespace[\s\S]*\+ link[\s\S]*\+ address[\s\S]*\+ port/);
  await page.click('role=button[name="Stop comparing"]');
  await page.waitForSelector('text=The journal names no object at this moment.');
  await page.click('#tab-timeline');
  await page.click('.event:has-text("configuring.attaching")');
  await page.waitForSelector('.inset [data-node="configuring.attaching"].here');
  await page.click('#tab-snapshot');
  await page.waitForSelector('.tree >> text=attachments');
  await assertAccessible(page, 'a moment of the past');
  browser.assertQuiet();
});

live('a slirp4netns that is killed is seen to be lost and started again', async () => {
  await daemon.up('slirp', { uplink: { program: 'slirp4netns' } });
  const page = await openPage('#/containers/slirp');
  await page.waitForSelector('.chart [data-node="up"].here');
  const [pid = 0] = uplinksOf(daemon);
  process.kill(pid, 'SIGKILL');
  await page.waitForSelector('.event-cause:has-text("lost")');
  await page.waitForSelector('.event:has-text("repairing.repairingUplink")');
  await until('it runs again', () => uplinksOf(daemon).some((other) => other !== pid));
  await page.waitForSelector('.chart [data-node="up"].here');
  // The uplink's own machine is drawn in a moment of the past in which it was at work: at its end it is there no more.
  await page.click('.event.of-child:has-text("starting") >> nth=0');
  await page.waitForSelector('.inset:has-text("uplink")');
  browser.assertQuiet();
});

live('drift is seen, with who did it where that is known, and that it was repaired', async () => {
  const view = await daemon.up('web3', { networks: on('web') });
  const page = await openPage('#/drift');
  await page.waitForSelector('text=Nothing has drifted or failed');
  execFileSync('nsenter', [`--net=${pathOf(view)}`, '--', 'ip', 'link', 'del', 'eth0']);
  await page.waitForSelector('tr.of-drift:has-text("web3") >> text=is repaired');
  await page.waitForSelector('tr.of-repaired:has-text("web3")');
  await page.click('tr.of-drift >> text="web3"');
  await page.waitForSelector('.event:has-text("repairing")');
  browser.assertQuiet();
});

live('a daemon that is killed is said to be away; the page comes back with the next one', async () => {
  await daemon.up('web4', { networks: on('web') });
  const page = await openPage('#/containers/web4', [/503|ERR_/]);
  await page.waitForSelector('.chart [data-node="up"].here');
  await daemon.kill();
  await page.waitForSelector('role=alert >> text=The daemon has not answered since');
  await page.waitForSelector('text=Containers keep their networks.');
  await daemon.start();
  await page.waitForSelector('.connection.live');
  await daemon.done({ type: 'teardown', id: 'web4' });
  await page.waitForSelector('text=web4 is gone: nothing of it is left.');
  browser.assertQuiet();
});

live('a teardown from the page is asked about once more, and done', async () => {
  await daemon.up('web5', { networks: on('web') });
  const page = await openPage('#/containers/web5');
  await page.click('.actions >> text="teardown"');
  await page.click('dialog >> text=Yes, teardown');
  await page.waitForSelector('text=web5 is gone: nothing of it is left.');
  await daemon.gone('web5');
  browser.assertQuiet();
});

live('who only looks is told so, and sends nothing', async () => {
  await daemon.up('web6', { networks: on('web') });
  const page = await browser.open(await inspector('--read-only'));
  await page.click(row('web6', 'up'));
  await page.waitForSelector('#may-not-send');
  await page.click('.actions >> text="teardown"', { force: true });
  assert.is(await page.locator('dialog').count(), 0);
  browser.assertQuiet();
});

live('an exported journal opens without a daemon', async () => {
  await daemon.up('web7', { networks: on('web') });
  const file = `${daemon.directory}/web7.ndjson`;
  writeFileSync(file, (await daemon.get('/v1/containers/web7/export')).text);
  const page = await browser.open(await inspector(file));
  await page.waitForSelector('text=file: web7.ndjson');
  await page.waitForSelector('.chart [data-node="up"].here');
  await page.click('#tab-snapshot');
  await page.waitForSelector('.objects >> text=/10.50.0./');
  await page.keyboard.press('[');
  await page.waitForSelector('text=past: ');
  await assertAccessible(page, 'a file');
  browser.assertQuiet();
});

live.run();
