// proving only: 600
// slow: 30 s, axe judges each place of the page, dark and light, wide and narrow
/** Every place of the page in both colour schemes, at the width of a desktop and of a phone: axe finds no violation. */
import { suite } from 'uvu';
import type { Page } from 'playwright-core';
import { PHONE, PageBrowser, assertAccessible, goTo } from '../harness/page-browser.ts';
import { container, fleet } from '../harness/page-fleet.ts';
import { PageServer } from '../harness/page-server.ts';

const test = suite('accessibility of the page');
const server = new PageServer(fleet(12));
let browser: PageBrowser;
let url = '';

const DRIFT = { kind: 'route', object: 'default via 10.90.1.1', network: 'web' } as const;
server.containers[3] = container(3, {
  state: 'degraded',
  drift: [DRIFT],
  fault: { code: 'KERNEL', message: 'no bridge' },
});

test.before(async () => {
  browser = await PageBrowser.start();
  url = await server.start();
});
test.after.each(() => browser.close());
test.after(async () => {
  await browser.stop();
  await server.stop();
});

/** Goes everywhere, and has each place judged. */
async function assertAllAccessible(page: Page): Promise<void> {
  await page.waitForSelector('#container-c1');
  await assertAccessible(page, 'list');
  await goTo(page, '#/containers/c3');
  await page.waitForSelector('.chart .here');
  for (const tab of ['timeline', 'waterfall', 'snapshot', 'facts']) {
    await page.click(`#tab-${tab}`);
    await assertAccessible(page, tab);
  }
  for (let i = 0; i < 9; i++) await page.keyboard.press('[');
  await page.waitForSelector('.inset');
  await assertAccessible(page, 'past');
  await page.keyboard.press('Escape');
  await page.click('.actions >> text="teardown"');
  await assertAccessible(page, 'question');
  await page.click('dialog >> text=Cancel');
  await goTo(page, '#/shared/network%20web');
  await page.waitForSelector('.chart .here');
  await assertAccessible(page, 'shared machine');
  await goTo(page, '#/map');
  await page.waitForSelector('.card');
  await assertAccessible(page, 'map');
  await goTo(page, '#/drift');
  server.say({
    event: 'notification',
    data: { type: 'drift', t: 1, id: 'c3', network: 'web', drift: [DRIFT], action: 'repair', by: 'ip (pid 42)' },
  });
  await page.waitForSelector('tr.of-drift');
  await assertAccessible(page, 'drift');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog.help[open]');
  await assertAccessible(page, 'help');
  browser.assertQuiet();
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const viewport of [{ width: 1440, height: 900 }, PHONE]) {
    test(`${colorScheme}, ${viewport.width} pixels wide`, async () => {
      await assertAllAccessible(await browser.open(url, { colorScheme, viewport }));
    });
  }
}

test.run();
