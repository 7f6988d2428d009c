// SPDX-License-Identifier: GPL-2.0-or-later
// The page in a real browser, at the widths of a phone, a tablet and a desk, light and dark: what is seen,
// what runs off the edge, what the browser says.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import t from 'tap';
import { farmStatus, type FarmState } from '../../agents/build-vm/status-page/farm-status.js';
import { PageFiles } from '../../agents/build-vm/status-page/page-files.js';
import { Browser, noBrowser } from './browser.js';
import { farm, hostile, manyStates } from './farm-states.js';

const folder = mkdtempSync(join(tmpdir(), 'bi-shown-'));
/** Pictures are kept where a person wants to look at them. */
const pictures = process.env['BUILD_INFRA_PICTURES'];
const types: Record<string, string> = {
  '.html': 'text/html',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
};
const asked: string[] = [];
const server = createServer((request, response) => {
  asked.push(request.url ?? '');
  try {
    const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
    const content = readFileSync(join(folder, path));
    response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const browser = noBrowser.skip === undefined ? new Browser() : undefined;
await browser?.start();
t.teardown(async () => {
  await browser?.end();
  server.close();
  rmSync(folder, { recursive: true });
});

function lay(name: string, state: FarmState): void {
  for (const { path, content } of new PageFiles().of(farmStatus(state), state.jobs)) {
    mkdirSync(dirname(join(folder, name, path)), { recursive: true });
    writeFileSync(join(folder, name, path), content ?? '');
  }
}
lay('farm', manyStates());
lay('attack', hostile());
lay('empty', farm([]));
const names = [
  'farm/index.html',
  'farm/components/failed-in-one/index.html',
  'farm/components/promoted/index.html',
  'attack/index.html',
  'attack/components/victim/index.html',
  'empty/index.html',
];

/**
 * Elements with text whose colour has less than 4.5:1 against the first ground that is painted behind them
 * (WCAG 2.2, 1.4.3).
 */
const faint = `(() => {
  const channels = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const light = ({ r, g, b }) => { const part = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * part(r) + .7152 * part(g) + .0722 * part(b); };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = channels(getComputedStyle(e).backgroundColor); if (c.a > 0) return c; } throw new Error('no ground'); };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let n; (n = walk.nextNode());) {
    if (!n.textContent.trim()) continue;
    const [a, b] = [light(channels(getComputedStyle(n.parentElement).color)), light(ground(n.parentElement))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(ratio.toFixed(2) + ' ' + n.textContent.trim().slice(0, 40));
  }
  return found;
})()`;
/** What sticks out of the window, or of the card it belongs to. */
const wide = `[...document.querySelectorAll('body *')].filter((e) => {
  const box = e.getBoundingClientRect(), card = e.parentElement.closest('tbody, li, article') || document.documentElement;
  return box.width > 1 && (box.right > innerWidth + .5 || box.right > card.getBoundingClientRect().right + .5 || box.left < 0);
}).map((e) => e.outerHTML.slice(0, 120))`;

for (const name of names) {
  for (const [view, width] of [
    ['phone', 360],
    ['tablet', 800],
    ['desk', 1280],
  ] as const) {
    for (const dark of [false, true]) {
      void t.test(
        `${name} fits a ${view}, ${dark ? 'dark' : 'light'}, and the browser says nothing against it`,
        noBrowser,
        async (t) => {
          if (browser === undefined) return;
          await browser.open(`${base}/${name}`, { width, dark });
          t.ok(
            (await browser.value<number>('document.documentElement.scrollWidth')) <= width,
            'no scrolling to the side',
          );
          t.strictSame(await browser.value(wide), [], 'nothing sticks out');
          t.strictSame(await browser.value(faint), [], 'all text has enough contrast');
          t.equal(
            await browser.value('getComputedStyle(document.body).backgroundColor'),
            dark ? 'rgb(21, 24, 28)' : 'rgb(255, 255, 255)',
            'the style is taken',
          );
          t.strictSame(
            browser.complaints.filter((line) => !line.includes('favicon.ico')),
            [],
          );
          if (pictures !== undefined)
            writeFileSync(
              join(pictures, `${name.replaceAll('/', '-')}-${view}-${dark ? 'dark' : 'light'}.png`),
              await browser.screenshot(),
            );
        },
      );
    }
  }
}

void t.test('what a person needs is seen on a phone without opening anything', noBrowser, async (t) => {
  await browser?.open(`${base}/farm/index.html`, { width: 360 });
  const text = (await browser?.value<string>('document.body.innerText')) ?? '';
  for (const words of [
    'tag v1.0 seen, not built since 2026-11-12 12:00 UTC',
    'BUILD_FAILED dpkg-buildpackage ended with 2',
    'build trixie since 2026-11-22 11:48 UTC',
    '2.10-3\n5 days, 2026-11-17 02:00 UTC',
    'buster (retired)',
  ])
    t.match(text, words);
});

void t.test(
  'a screen reader gets headings, a table with its headers on every width, and links with words',
  noBrowser,
  async (t) => {
    for (const width of [360, 1280]) {
      await browser?.open(`${base}/farm/index.html`, { width });
      const { nodes } = (await browser?.ask('Accessibility.getFullAXTree')) as {
        nodes: { ignored: boolean; role?: { value: string }; name?: { value: string } }[];
      };
      const named = (role: string): string[] =>
        nodes
          .filter((node) => !node.ignored && node.role?.value === role)
          .map((node) => node.name?.value ?? '');
      t.match(named('heading'), ['Packages of debian', 'To look at', 'Now', 'Running', 'Queue', 'Packages']);
      t.equal(named('table').length, 1);
      t.same(
        named('columnheader'),
        ['component', 'distribution', 'newest version', 'current-testing', 'current', 'security-testing'],
        `${width} px`,
      );
      t.ok(named('rowheader').includes('in-testing') && named('rowheader').includes('trixie'));
      t.ok(named('main').length === 1 && named('navigation').length === 1);
      t.notOk(named('link').some((name) => name.trim() === ''));
    }
  },
);

void t.test(
  'every link of the page can be reached with the keyboard and leads to a page that is there',
  noBrowser,
  async (t) => {
    await browser?.open(`${base}/farm/index.html`, { width: 1280 });
    const links =
      (await browser?.value<string[]>(
        '[...document.links].filter((one) => one.tabIndex === 0).map((one) => one.href)',
      )) ?? [];
    t.equal(links.length, await browser?.value('document.links.length'));
    const own = [
      ...new Set(links.filter((link) => link.startsWith(base)).map((link) => link.replace(/#.*/, ''))),
    ];
    t.ok(own.length > 10);
    for (const link of own) t.equal((await fetch(link)).status, 200, link);
    const anchors = links.filter((link) => link.startsWith(`${base}/farm/components/building/`));
    await browser?.open(anchors.find((link) => link.includes('#')) ?? '', { width: 1280 });
    t.ok(
      await browser?.value('document.querySelector(":target") !== null'),
      'a job that runs leads to its place',
    );
  },
);

void t.test('an attack in every text runs nothing and loads nothing', noBrowser, async (t) => {
  asked.length = 0;
  for (const name of ['attack/index.html', 'attack/components/victim/index.html']) {
    await browser?.open(`${base}/${name}`, { width: 1280 });
    t.equal(
      await browser?.value(
        'document.querySelectorAll("script, img, iframe, object, embed, form, link, base").length',
      ),
      0,
    );
    t.equal(
      await browser?.value(
        '[...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on") || a.name === "style")).length',
      ),
      0,
    );
    t.strictSame(
      await browser?.value(
        '[...document.links].filter((e) => !["http:", "https:"].includes(e.protocol)).length',
      ),
      0,
    );
  }
  t.strictSame(
    asked.filter((path) => !path.startsWith('/attack/') && path !== '/favicon.ico'),
    [],
  );
});

void t.test('the policy of the page stops what would be put into it all the same', noBrowser, async (t) => {
  await browser?.open(`${base}/farm/index.html`, { width: 1280 });
  await browser?.value(`(() => {
    for (const [tag, change] of [['script', { textContent: 'document.title = "run"' }], ['img', { src: '/stolen.png' }], ['iframe', { src: '/stolen.html' }], ['style', { textContent: 'body { background: rgb(1, 2, 3) }' }]]) document.body.append(Object.assign(document.createElement(tag), change));
    document.body.setAttribute('style', 'background: rgb(4, 5, 6)');
  })()`);
  t.equal(await browser?.value('document.title'), 'Packages of debian');
  t.equal(await browser?.value('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)');
  t.notOk(asked.some((path) => path.includes('stolen')));
  t.ok(
    browser?.complaints.some((line) => line.includes('Content Security Policy')),
    'and this test would have seen a violation',
  );
});

void t.test('badges are drawn with their words inside', noBrowser, async (t) => {
  await browser?.open(`${base}/farm/components/promoted/badges/trixie/current-testing.svg`, { width: 360 });
  const boxes =
    (await browser?.value<[number, number][]>(
      '[...document.querySelectorAll("text")].map((e) => [e.getBBox().x, e.getBBox().x + e.getBBox().width])',
    )) ?? [];
  const width = (await browser?.value<number>('document.documentElement.width.baseVal.value')) ?? 0;
  t.equal(boxes.length, 2);
  t.ok(
    boxes.every(([from, to]) => from >= 0 && to <= width),
    JSON.stringify({ boxes, width }),
  );
  if (pictures !== undefined && browser !== undefined)
    writeFileSync(join(pictures, 'badge.png'), await browser.screenshot());
});
