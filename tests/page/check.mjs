// Checks the page in a browser. Each check has been seen to fail; the last ones break the page on purpose, so that what looks
// for errors is known to find them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [address, evening, executablePath, folder] = process.argv.slice(2);
// Evaluated as a debugger would: the policy of the page forbids other scripts.
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');
const company = new URL('t/romashka', address).href;
// The same floor after its first day.
const reviews = new URL('t/romashka/reviews', evening).href;
// Longer than anything here takes.
const GENEROUS = 60_000;

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });

// Opens an address in a new tab, and collects what the console calls an error.
async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(GENEROUS);
  const errors = [];
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(url);
  return { page, errors, close: () => context.close() };
}

const keys = (page, section) => page.$$eval(`#${section} [data-rows] > :not(.gone)`, (rows) => rows.map((row) => row.dataset.key));

async function serious(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
}

const checks = {
  // The demo needs some seconds until managers are late.
  async 'the first line names people and the longest wait'() {
    const { page, errors, close } = await open(company);
    await page.waitForFunction(() => /^\d+ (person|people) to talk to today; longest wait .+ \(.+\)/
      .test(document.querySelector('#top')?.textContent ?? ''));
    assert.deepEqual(errors, []);
    await close();
  },
  async 'alerts appear and go without a reload'() {
    const { page, errors, close } = await open(company);
    await page.evaluate(() => { window.isTheSame = true; });
    const before = await keys(page, 'clocks');
    await page.waitForFunction((before) => {
      const now = [...document.querySelectorAll('#clocks [data-rows] > li')].map((row) => row.dataset.key);
      return now.some((key) => !before.includes(key)) && before.some((key) => !now.includes(key));
    }, before);
    assert.ok(await page.evaluate(() => window.isTheSame), 'the page was not loaded again');
    assert.deepEqual(errors, []);
    await close();
  },
  async 'rows stay in place under the pointer'() {
    const { page, close } = await open(company);
    await page.hover('#clocks li:nth-child(3)');
    const held = await page.$$eval('#clocks li', (rows) => rows.map((row) => row.dataset.key));
    await page.waitForFunction((held) => {
      const now = [...document.querySelectorAll('#clocks li')].map((row) => row.dataset.key);
      return now.length > held.length;
    }, held);
    const now = await page.$$eval('#clocks li', (rows) => rows.map((row) => row.dataset.key));
    assert.deepEqual(now.slice(0, held.length), held);
    await page.mouse.move(0, 0);
    await page.waitForFunction(() => document.querySelectorAll('#clocks .gone').length === 0);
    await close();
  },
  async 'a row with the focus is kept up to date and keeps it'() {
    const { page, close } = await open(company);
    const link = page.locator('#people tbody tr a').first();
    await link.focus();
    const key = await page.evaluate(() => document.activeElement.closest('tr').dataset.key);
    const before = await page.evaluate(() => document.activeElement.closest('tr').textContent);
    await page.waitForFunction((before) => document.activeElement.closest('tr')?.textContent !== before, before);
    assert.equal(await page.evaluate(() => document.activeElement.closest('tr').dataset.key), key);
    await close();
  },
  async 'paused, nothing changes'() {
    const { page, close } = await open(company);
    await page.click('#pause');
    const before = await page.innerHTML('#live');
    await page.waitForTimeout(4000);
    assert.equal(await page.innerHTML('#live'), before);
    await page.click('#pause');
    await page.waitForFunction((before) => document.querySelector('#live').innerHTML !== before, before);
    await close();
  },
  async 'filters are in the address'() {
    const { page, close } = await open(company);
    const everyone = await keys(page, 'people');
    await Promise.all([page.waitForURL(/department=moscow/), page.selectOption('select[name=department]', 'moscow')]);
    const people = await keys(page, 'people');
    assert.ok(people.length > 1 && people.length < everyone.length && people.includes('vera'), people.join());
    await Promise.all([page.waitForURL(/window=1h/), page.selectOption('select[name=window]', '1h')]);
    assert.match(page.url(), /department=moscow/);
    await page.click('#people a >> nth=0');
    await page.waitForSelector('#figures');
    assert.match(page.url(), /managers\/.*window=1h&department=moscow/);
    assert.match(await page.textContent('#figures h2'), /1h/);
    await close();
  },
  async 'the page can be used by keyboard only'() {
    const { page, close } = await open(company);
    for (let presses = 0; presses < 30; presses += 1) {
      await page.keyboard.press('Tab');
      if (await page.evaluate(() => document.activeElement.matches('#people a'))) break;
    }
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#figures');
    await close();
  },
  async 'a countdown runs between fragments'() {
    const { page, close } = await open(company);
    const clock = '#clocks .countdown[data-runs="1"]';
    await page.waitForSelector(clock);
    await page.evaluate(() => document.querySelector('#pause').focus());
    const texts = new Set();
    for (let look = 0; look < 12; look += 1) {
      texts.add(await page.textContent(clock));
      await page.waitForTimeout(300);
    }
    assert.ok(texts.size > 1, [...texts].join());
    await close();
  },
  async 'a review is scored, and the figure follows'() {
    const { page, errors, close } = await open(reviews);
    const figure = async () => {
      const answer = await page.request.get(new URL('api/v1/tenants/romashka?window=30d', evening).href);
      return (await answer.json()).rows[0].reviews.n;
    };
    const waiting = await page.locator('.reviews > li').count();
    assert.ok(waiting > 3, `${waiting} conversations wait`);
    const before = await figure();
    const first = page.locator('.reviews > li').first();
    await first.locator('summary').click();
    await first.locator('input[type=checkbox]').first().check();
    await first.locator('input[name=score]').fill('85');
    await first.locator('input[value=SUCCESS]').check();
    await first.locator('textarea').fill('Clear and friendly');
    await Promise.all([page.waitForURL(/done=/), first.locator('button').click()]);
    assert.match(await page.textContent('.done'), /saved/);
    assert.equal(await page.locator('.reviews > li').count(), waiting - 1);
    for (const started = Date.now(); (await figure()) <= before;) {
      assert.ok(Date.now() - started < GENEROUS, 'the figure moved');
      await page.waitForTimeout(300);
    }
    assert.deepEqual(errors, []);
    await close();
  },
  async 'an alert is taken, and everybody sees by whom'() {
    const { page, errors, close } = await open(company);
    await page.click('#pause');
    const row = page.locator('#clocks li.overdue:has(form)').last();
    const key = await row.getAttribute('data-key');
    await row.locator('button').click();
    await page.waitForFunction((key) => /taken by/.test(document.querySelector(`#clocks [data-key="${key}"] .taken`)?.textContent ?? 'taken by'), key);
    assert.deepEqual(errors, []);
    await close();
  },
  async 'a figure leads to what it counts'() {
    const { page, errors, close } = await open(new URL('t/romashka/managers/vera', address).href);
    await page.click('#pause');
    const link = page.locator('#figures a[href*="/figures/touches"]');
    await Promise.all([page.waitForURL(/figures\/touches/), link.click()]);
    assert.match(await page.textContent('.top'), /^Touches: \d+$/);
    const rows = await page.locator('#members tbody tr').count();
    assert.equal(rows, Math.min(200, Number((await page.textContent('.top')).replace(/\D/g, ''))));
    assert.deepEqual(errors, []);
    await close();
  },
  async 'a person and a lead show what was sent to whom'() {
    const { page, errors, close } = await open(new URL('t/romashka/managers/vera', address).href);
    await page.waitForFunction(() => /Vera Sokolova\s*notification in Bitrix24/.test(document.querySelector('#deliveries')?.textContent ?? ''));
    await page.click('#pause');
    const lead = page.locator('#deliveries a[href*="/leads/"]').first();
    const name = await lead.textContent();
    await Promise.all([page.waitForURL(/leads\//), lead.click()]);
    assert.match(await page.textContent('#deliveries'), new RegExp(name));
    assert.deepEqual(errors, []);
    await close();
  },
  async 'people have names and a line of the day'() {
    const { page, close } = await open(company);
    assert.match(await page.textContent('#people'), /Vera Sokolova\s*Moscow/);
    await page.waitForFunction(() => document.querySelectorAll('#people svg.spark[aria-label]').length > 3);
    await close();
  },
  async 'without scripts the page is complete'() {
    const { page, close } = await open(company, { javaScriptEnabled: false });
    assert.match(await page.textContent('#top'), /talk to|norms/);
    assert.ok((await page.locator('#people tbody tr').count()) > 3);
    assert.ok(await page.locator('.filters button').isVisible());
    await close();
  },
  async 'nothing serious for axe, and nothing wider than 320 px'() {
    const { page: first, close } = await open(company);
    const person = await first.getAttribute('#people a', 'href');
    const lead = await first.getAttribute('#clocks a[href*="/leads/"], #people a[href*="/leads/"]', 'href');
    await close();
    const figure = new URL('t/romashka/figures/first_response_within_norm?manager=vera', address).href;
    const views = { company, person: new URL(person, address).href, lead: new URL(lead, address).href, list: address, figure, reviews };
    for (const [view, url] of Object.entries(views)) {
      for (const language of ['en', 'ru']) {
        for (const colorScheme of ['light', 'dark']) {
          for (const width of [1280, 320]) {
            const { page, errors, close } = await open(`${url}${url.includes('?') ? '&' : '?'}lang=${language}`, { colorScheme, viewport: { width, height: 900 } });
            if (view === 'reviews') await page.locator('summary').first().click();
            const name = `${view}.${language}.${colorScheme}.${width}`;
            if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
            assert.deepEqual(await serious(page), [], name);
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(wide <= width, `${name} is ${wide} px wide`);
            assert.equal(await page.getAttribute('html', 'lang'), language);
            assert.deepEqual(errors, [], name);
            await close();
          }
        }
      }
    }
  },
  async 'what is broken on purpose is found'() {
    const { page, errors, close } = await open(company);
    await page.evaluate(() => {
      document.querySelector('#live').insertAdjacentHTML('beforeend', '<img src="/page.css">');
      document.querySelector('.filters label').replaceWith(document.createElement('select'));
    });
    const found = await serious(page);
    assert.ok(found.some((text) => text.startsWith('image-alt')) && found.some((text) => text.startsWith('select-name')), found.join());
    await page.evaluate(() => document.body.insertAdjacentHTML('beforeend', '<p onclick="1">x</p><style>p {color: red}</style>'));
    await page.waitForTimeout(200);
    assert.ok(errors.some((text) => text.includes('Content Security Policy')), errors.join());
    await close();
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack ?? error}`);
  }
}
await browser.close();
process.exit(failed === 0 ? 0 : 1);
