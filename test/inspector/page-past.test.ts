// timeout: 600
// slow: 15 s, a browser goes through the past of a container
/**
 * The past in a browser, from a page server that says what the test wants: time travel, the waterfall, and a journal from a file.
 *
 * Limits: what the page makes of a journal is in past.test.ts, line by line.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PageBrowser, goTo } from '../harness/page-browser.ts';
import { fleet, journal } from '../harness/page-fleet.ts';
import { PageServer, exported } from '../harness/page-server.ts';

const test = suite('the past on the page');
let browser: PageBrowser;
let server: PageServer;
let url = '';

test.before(async () => {
  browser = await PageBrowser.start();
});
test.before.each(async () => {
  server = new PageServer(fleet(2));
  url = await server.start();
});
test.after.each(async () => {
  await browser.close();
  await server.stop();
});
test.after(() => browser.stop());

test('time travel: state, objects and context of each moment, and what differs', async () => {
  const lines = journal('c0', Date.now() - 60_000);
  server.journals.set('c0', lines);
  const page = await browser.open(`${url}#/containers/c0`);
  await page.click('#tab-snapshot');
  await page.waitForSelector('.objects >> text=*:8080/tcp');
  await page.click('role=button[name="Compare from here"]');
  const slider = page.locator('input[type=range]');
  await slider.focus();
  await page.keyboard.press('Home');
  await page.waitForSelector('text=past: ');
  assert.match((await slider.getAttribute('aria-valuetext')) ?? '', /moment 1 of \d+/);
  for (let i = 0; i < 7; i++) await page.keyboard.press('ArrowRight');
  await page.waitForSelector('.chart [data-node="configuring"].here');
  assert.match(await page.innerText('#panel-snapshot'), /configuring\.attaching\s+became\s+up/);
  assert.match(await page.innerText('#panel-snapshot'), /\+ port/);
  await page.click('role=button[name="Stop comparing"]');
  await page.waitForSelector('.inset [data-node="configuring.attaching"].here');
  assert.not.match(await page.innerText('#panel-snapshot'), /8080/);
  // The facts are of now, and say so.
  await page.click('#tab-facts');
  await page.waitForSelector('#panel-facts >> text=These are the facts of now');
  await page.keyboard.press('Escape');
  await page.waitForSelector('.chart [data-node="up"].here');
  await page.waitForSelector('#panel-facts >> text=These are the facts of now', { state: 'detached' });
  // Each row of the timeline is a moment, too.
  await page.click('#tab-timeline');
  await page.click('.event:has-text("configuring.naming")');
  await page.waitForSelector('.inset [data-node="configuring.naming"].here');
  // A line that is no row, such as an effect, is shown by the row before it; the list leads there.
  const marked = await page.getAttribute('.event.selected', 'id');
  await page.keyboard.press('[');
  await page.waitForSelector(`.event.selected:not(#${marked})`);
  await page.keyboard.press(']');
  await page.waitForSelector(`.event.selected#${marked}`);
  for (let at = 0; at < lines.length - 1; at++) {
    await slider.fill(String(at));
    await page.waitForSelector(`input[aria-valuetext*="moment ${at + 1} of"]`);
    assert.is(await page.locator('.event.selected').count(), 1, `line ${at} has no row`);
  }
  await page.focus('.events');
  await page.keyboard.press('End');
  await page.waitForSelector(
    `.event.selected[aria-posinset="${await page.getAttribute('.event.selected', 'aria-setsize')}"]`,
  );
  assert.is(
    await page.getAttribute('.events', 'aria-activedescendant'),
    await page.getAttribute('.event.selected', 'id'),
  );
  browser.assertQuiet();
});

test('the waterfall says where the milliseconds went', async () => {
  const waiting = journal('c0', Date.now() - 60_000).map((line) =>
    line.kind === 'effect' ? { ...line, waited: line.ms / 4 } : line,
  );
  server.journals.set('c0', waiting);
  const page = await browser.open(`${url}#/containers/c0`);
  await page.click('#tab-waterfall');
  await page.waitForSelector('.bar-row');
  const text = await page.innerText('.operations');
  assert.match(text, /configure\s+10\.8 ms/);
  assert.match(text, /Longest: name, 6\.4 ms of 10\.8 ms/);
  assert.match(text, /attachment linking\s+1\.9 ms/);
  const hatched = await page
    .locator('details[open] .bar-waited')
    .evaluateAll((bars) => bars.map((bar) => bar.style.width));
  assert.ok(
    hatched.length > 0 && hatched.every((width) => Math.abs(Number.parseFloat(width) - 25) < 0.01),
    String(hatched),
  );
  browser.assertQuiet();
});

test('a journal from a file is shown without a daemon, also if it is cut off', async () => {
  const text = exported('web', journal('web', Date.now()));
  server.file = { name: 'web.ndjson', text };
  const page = await browser.open(url);
  await page.waitForSelector('.chart [data-node="up"].here');
  assert.is(await page.locator('h1').innerText(), 'web');
  await page.waitForSelector('text=file: web.ndjson');
  await page.keyboard.press('[');
  await page.waitForSelector('text=past: ');
  // There is no other place to go to.
  for (const key of ['g', 'm', '/']) await page.keyboard.press(key);
  await goTo(page, '#/drift');
  assert.is(await page.locator('h1').innerText(), 'web');
  assert.equal(server.resumed, []);
  browser.assertQuiet();
  server.file = { name: 'web.ndjson', text: text.slice(0, -30) };
  await page.reload();
  await page.waitForSelector('role=alert >> text=The file is cut off');
  await page.waitForSelector('.chart .here');
  server.file = { name: 'x', text: '{"journal":9}\n' };
  await page.reload();
  await page.waitForSelector('text=version 9');
});

test.run();
