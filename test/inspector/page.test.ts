// timeout: 600
// slow: 30 s, a browser goes through everything that the page can do
/**
 * The page in a browser, from a page server that says what the test wants: everything by keyboard alone, a thousand containers,
 * refusals, a daemon that ends and comes back, and the width of a phone.
 *
 * Limits: the past and files are in page-past.test.ts, what a real daemon says in live.test.ts, accessibility in accessible.test.ts.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Page } from 'playwright-core';
import { PHONE, PageBrowser, goTo, holds } from '../harness/page-browser.ts';
import { configuration, container, fleet } from '../harness/page-fleet.ts';
import { PageServer } from '../harness/page-server.ts';
import { until } from '../harness/native.ts';

const test = suite('the page');
let browser: PageBrowser;
let server: PageServer;
let url = '';

const DRIFT = { kind: 'route', object: 'default via 10.90.1.1', network: 'web' } as const;

test.before(async () => {
  browser = await PageBrowser.start();
});
test.before.each(async () => {
  server = new PageServer(fleet(12));
  url = await server.start();
});
test.after.each(async () => {
  await browser.close();
  await server.stop();
});
test.after(() => browser.stop());

const rows = (page: Page): Promise<string[]> => page.locator('.rows .row-id').allTextContents();
const heading = (page: Page): Promise<string> => page.locator('h1').innerText();

test('shows every container with its state, and finds one by what it is', async () => {
  server.containers[5] = container(5, {
    name: 'database',
    state: 'degraded',
    fault: { code: 'KERNEL', message: 'no bridge' },
  });
  const page = await browser.open(url);
  await page.waitForSelector('#container-c11');
  assert.is((await rows(page)).length, 12);
  await page.fill('#search', 'datab');
  await holds(page, `document.querySelectorAll('.row').length === 1`);
  assert.match(await page.innerText('.row'), /c5 database[\s\S]*degraded/);
  await page.fill('#search', '');
  await page.click('.chip:has-text("degraded")');
  await holds(page, `document.querySelectorAll('.row').length === 1`);
  await page.click('#container-c5');
  await page.waitForSelector('text=KERNEL: no bridge');
  await page.waitForSelector('.chart [data-node="degraded"].here');
  browser.assertQuiet();
});

test('draws the machine, lights the state, and shows what it goes through', async () => {
  const page = await browser.open(`${url}#/containers/c0`);
  await page.waitForSelector('.chart [data-node="up"].here');
  server.say(...configuration('c0', Date.now()).slice(0, -1), {
    event: 'container',
    data: container(0, { state: 'configuring.publishing' }),
  });
  await page.waitForSelector('.overview [data-node="configuring"].here');
  // The inside of the nested state, and the line that was taken.
  await page.waitForSelector('.inset [data-node="configuring.publishing"].here');
  await page.waitForSelector('.inset .edge.taken');
  await page.click('text=All nested states');
  await page.waitForSelector('.chart:not(.small) [data-node="configuring.publishing"].here');
  assert.match(
    (await page.getAttribute('.chart-frame', 'aria-label')) ?? '',
    /Now configuring\.publishing\. .*From here: /,
  );
  browser.assertQuiet();
});

test('sends what is legal, asks before a teardown, and shows the answer and a refusal', async () => {
  const page = await browser.open(`${url}#/containers/c3`, {}, [/409/]);
  await page.click('.actions >> text="teardown"');
  await page.click('dialog >> text=Cancel');
  await page.waitForSelector('dialog', { state: 'detached' });
  assert.equal(server.sent, []);
  server.answer = () => ({ status: 200, body: { id: 'c3', state: 'up', warnings: ['nobody will find it'] } });
  await page.click('.actions >> text="publish"');
  await page.fill('#field-ports', 'nonsense');
  await page.click('dialog >> role=button[name="publish"]');
  await page.waitForSelector('dialog >> text=Write ports as');
  await page.fill('#field-ports', '9000:90');
  await page.click('dialog >> role=button[name="publish"]');
  await page.waitForSelector('text=now up. nobody will find it');
  server.answer = () => ({
    status: 409,
    body: { error: { code: 'ILLEGAL_EVENT', message: 'c3 is tearingDown', hint: 'Wait.' } },
  });
  await page.click('.actions >> text="teardown"');
  await page.click('dialog >> text=Yes, teardown');
  await page.waitForSelector('role=alert >> text=ILLEGAL_EVENT: c3 is tearingDown. Wait.');
  assert.equal(server.sent, [
    { type: 'publish', id: 'c3', port_mappings: [{ host_port: 9000, container_port: 90 }] },
    { type: 'teardown', id: 'c3' },
  ]);
});

test('a viewer without rights sees what is legal, sends nothing, and is told why', async () => {
  server.maySend = false;
  const page = await browser.open(`${url}#/containers/c1`);
  await page.waitForSelector('#may-not-send');
  assert.match(await page.innerText('#may-not-send'), /You may look, but not send/);
  await page.click('.actions >> text="teardown"', { force: true });
  await page.click('.actions >> text="configure"', { force: true });
  assert.is(await page.locator('dialog').count(), 0);
  assert.equal(server.sent, []);
  browser.assertQuiet();
});

test('who may not look at all reads the refusal, and sees everything once it is mended', async () => {
  server.refusal = { status: 403, code: 'NOT_ALLOWED', message: 'this is not for uid 1000', hint: 'Ask root.' };
  const page = await browser.open(url, {}, [/403/]);
  await page.waitForSelector('role=alert >> text=NOT_ALLOWED: this is not for uid 1000. Ask root.');
  server.refusal = null;
  await page.waitForSelector('#container-c1');
  assert.is(await page.locator('[role=alert]').count(), 0);
  browser.assertQuiet();
});

test('when the daemon ends the page says so, comes back, and goes on where it was', async () => {
  const page = await browser.open(`${url}#/containers/c1`, {}, [/503|ERR_/]);
  await page.waitForSelector('.connection.live');
  server.refusal = { status: 503, code: 'NO_DAEMON', message: 'nobody listens', hint: '' };
  server.drop();
  await page.waitForSelector('role=alert >> text=The daemon has not answered since');
  // What was known is still there, and nothing can be sent.
  assert.is(await heading(page), 'c1');
  // The moment of one container is not that of another.
  await page.keyboard.press('[');
  await page.waitForSelector('text=past: ');
  await page.click('#container-c2');
  await page.waitForSelector('h1:has-text("c2")');
  await page.waitForSelector('text=past: ', { state: 'detached' });
  await page.click('#container-c1');
  await page.waitForSelector('h1:has-text("c1")');
  await page.waitForSelector('text=Events can be sent when the daemon is there again.');
  server.refusal = null;
  await page.waitForSelector('.connection.live');
  assert.match(server.resumed.at(-1) ?? '', /^run1-\d+$/);
  server.say({ event: 'container', data: container(1, { state: 'degraded' }) });
  await page.waitForSelector('.chart [data-node="degraded"].here');
  browser.assertQuiet();
});

test('a page whose frames have stopped, as those of a hidden one do, goes on', async () => {
  const page = await browser.open(url);
  await page.waitForSelector('#container-c1');
  await page.evaluate('window.requestAnimationFrame = () => 0');
  server.say({ event: 'container', data: container(1, { state: 'degraded' }) });
  await page.waitForSelector('#container-c1:has-text("degraded")');
  browser.assertQuiet();
});

test('an id that is gone says so, and so does one that never was', async () => {
  const page = await browser.open(`${url}#/containers/c2`);
  await page.waitForSelector('.chart [data-node="up"].here');
  server.containers = server.containers.filter(({ id }) => id !== 'c2');
  server.say({ event: 'gone', data: { id: 'c2' } });
  await page.waitForSelector('text=c2 is gone: nothing of it is left.');
  await goTo(page, '#/containers/nobody');
  await page.waitForSelector('text=There is no container nobody.');
  await page.click('.detail-none >> text=All containers');
  await page.waitForSelector('#container-c1');
  browser.assertQuiet();
});

test('shared machines, the map and drift', async () => {
  server.containers[3] = container(3, { drift: [DRIFT] });
  const page = await browser.open(`${url}#/shared`);
  await page.click('.row:has-text("network web")');
  await page.waitForSelector('.chart [data-node="up"].here');
  assert.is(await page.getAttribute('.rows', 'aria-activedescendant'), 'machine-network%20web');
  await page.click('.users >> text="c3"');
  assert.is(await heading(page), 'c3');
  await page.click('nav >> text=Map');
  await page.waitForSelector('a.card:has-text("c3")');
  assert.is(await page.locator('g.port').count(), 4);
  await page.click('a.card:has-text("c6")');
  assert.is(await heading(page), 'c6');
  // What the list leaves out, the map leaves out, by words and by kind; all of it comes back at once.
  await page.fill('#search', 'c');
  await page.click('.chip:has-text("up")');
  server.say({ event: 'container', data: container(6, { state: 'degraded' }) });
  await page.waitForSelector('.chip:has-text("degraded")');
  await page.click('nav >> text=Map');
  await page.waitForSelector('text=Shows 11 of 12 containers.');
  await page.click('text=Show all');
  await page.waitForSelector('a.card:has-text("c6")');
  await page.click('nav >> text=Drift');
  await page.waitForSelector('text=route default via 10.90.1.1');
  const drift = { t: Date.now(), id: 'c3', network: 'web', drift: [DRIFT] };
  server.say({ event: 'notification', data: { type: 'drift', ...drift, action: 'repair', by: 'ip (pid 42)' } });
  server.say({ event: 'notification', data: { type: 'repaired', ...drift } });
  await page.waitForSelector('tr.of-repaired');
  assert.match(
    await page.innerText('tr.of-drift'),
    /drift[\s\S]*c3[\s\S]*web[\s\S]*default via 10\.90\.1\.1[\s\S]*by ip \(pid 42\); is repaired/,
  );
  browser.assertQuiet();
});

test('the keyboard alone leads everywhere', async () => {
  const page = await browser.open(url);
  await page.waitForSelector('#container-c1');
  const focused = (): Promise<string> =>
    page.evaluate<string>(`(({ activeElement: at }) =>
      [at.getAttribute('role') ?? at.tagName.toLowerCase(), at.getAttribute('aria-label') ?? at.textContent].join(' '))(document)`);
  const press = async (...keys: string[]): Promise<void> => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await press('/');
  await holds(page, `document.activeElement.id === 'search'`);
  await page.keyboard.type('c1');
  await press('Tab', 'Tab', 'Tab');
  assert.is(await focused(), 'listbox Containers');
  await press('ArrowDown', 'ArrowDown');
  await holds(page, `document.querySelector('h1').textContent === 'c10'`);
  assert.is(await page.getAttribute('.rows', 'aria-activedescendant'), 'container-c10');
  // Through the events that are legal, to the chart.
  let seen = '';
  for (let i = 0; i < 30 && !seen.includes('Statechart') && !seen.startsWith('group One container'); i++) {
    await press('Tab');
    seen = await focused();
  }
  assert.match(seen, /^group One container\. Now up/);
  const transform = (): Promise<string | null> => page.getAttribute('.chart-frame svg > g', 'transform');
  const before = await transform();
  await press('+', 'ArrowLeft');
  assert.is.not(await transform(), before);
  await press('f');
  await holds(
    page,
    `document.querySelector('.chart-frame svg > g').getAttribute('transform') === ${JSON.stringify(before)}`,
  );
  await press('[');
  await page.waitForSelector('text=past: ');
  await press('Escape');
  await page.waitForSelector('text=past: ', { state: 'detached' });
  // The tabs beside the chart are one stop, and arrows move in them.
  await page.focus('#tab-timeline');
  await press('ArrowRight');
  assert.is(await page.getAttribute('#tab-waterfall', 'aria-selected'), 'true');
  await press('End');
  assert.is(await page.getAttribute('#tab-facts', 'aria-selected'), 'true');
  // A teardown, with the question.
  await page.focus('.actions button.danger');
  await press('Enter');
  await page.waitForSelector('dialog[open]');
  await press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  assert.equal(server.sent, []);
  for (const [key, place] of [
    ['s', 'Shared'],
    ['m', 'Map'],
    ['d', 'Drift'],
    ['c', 'Containers'],
  ] as const) {
    await press('g', key);
    await page.waitForSelector(`nav a[aria-current=page]:has-text("${place}")`);
  }
  await press('?');
  await page.waitForSelector('dialog.help[open]');
  await press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  // Where one is can be seen.
  await press('Tab');
  assert.is(await page.evaluate(`document.activeElement.matches(':focus-visible')`), true);
  browser.assertQuiet();
});

test('a screen reader is told of a change of state', async () => {
  const page = await browser.open(`${url}#/containers/c1`);
  await page.waitForSelector('.unseen >> text=c1 is up');
  server.say({ event: 'container', data: container(1, { state: 'failed' }) });
  await page.waitForSelector('.unseen[aria-live=polite] >> text=c1 is failed');
});

const PLACES = [
  ['containers', '12 containers'],
  ['containers/c3', 'All containers'],
  ['shared', '7 machines'],
  ['shared/network%20web', 'All shared machines'],
  ['map', 'Host ports'],
  ['drift', 'What happened'],
] as const;

test('at the width of a phone nothing is wider than the phone', async () => {
  const page = await browser.open(`${url}#/containers`, { viewport: PHONE });
  for (const [place, words] of PLACES) {
    await goTo(page, `#/${place}`);
    await page.waitForSelector(`main >> text=${words}`);
    const width = await page.evaluate<number>('document.documentElement.scrollWidth');
    assert.ok(width <= PHONE.width, `${place} is ${width} pixels wide`);
  }
  browser.assertQuiet();
});

test('a thousand containers: few are in the document, all can be reached, and changes keep coming', async () => {
  server.containers = fleet(1000);
  const page = await browser.open(`${url}#/containers/c0`, { reducedMotion: 'no-preference' });
  await page.waitForSelector('#container-c0');
  assert.ok((await page.locator('.row').count()) < 60);
  await page.focus('.rows');
  await page.keyboard.press('End');
  await page.waitForSelector('#container-c999');
  await page.keyboard.press('Home');
  await page.waitForSelector('#container-c0.selected');
  // Two seconds of what a busy daemon says: five containers every 100 ms.
  const frames = page.evaluate<number[]>(`new Promise((resolve) => {
    const taken = [];
    let last = performance.now();
    const end = last + 2000;
    const frame = (now) => {
      taken.push(now - last);
      last = now;
      if (now < end) requestAnimationFrame(frame);
      else resolve(taken);
    };
    requestAnimationFrame(frame);
  })`);
  let n = 0;
  const timer = setInterval(() => {
    for (let i = 0; i < 5; i++, n++) {
      server.say(...configuration(`c${n % 1000}`, Date.now()), {
        event: 'container',
        data: container(n % 1000, { state: 'degraded' }),
      });
    }
  }, 100);
  const taken = (await frames).sort((a, b) => a - b);
  clearInterval(timer);
  console.log(
    `${taken.length} frames in 2 s, p50 ${taken[taken.length >> 1]?.toFixed(1)} ms, worst ${taken.at(-1)?.toFixed(1)} ms`,
  );
  assert.ok(taken.length > 2, 'the page stood still');
  await page.waitForSelector(`.chip:has-text("degraded${n}")`);
  // A large group shows a few until it is opened.
  await page.click('nav >> text=Map');
  await page.waitForSelector('.card');
  assert.ok((await page.locator('.card').count()) <= 24);
  await page.click('.more >> nth=0');
  await until('the group is opened', async () => (await page.locator('.card').count()) > 100);
  browser.assertQuiet();
});

test.run();
