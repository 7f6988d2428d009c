// SPDX-License-Identifier: GPL-2.0-or-later
// The page's only style, in the page itself: nothing else is loaded, and the policy names its hash, so that
// no other style counts either. Colours have at least 4.5:1 against what they stand on, in both schemes (a
// test measures it).
import { createHash } from 'node:crypto';

export const style = `
:root { color-scheme: light dark; --ground: #fff; --card: #f5f6f8; --line: #c9ced6; --text: #1a1d21; --soft: #525a66; --link: #0b52a8;
  --good: #14632f; --go: #7a4300; --bad: #a4161a; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #15181c; --card: #1e2329; --line: #414a55; --text: #e7eaee; --soft: #aab3bf; --link: #8ab8f5; --good: #7fd49b; --go: #f0bd75; --bad: #ff9a97; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; }
h3 { margin: 0; font-size: 1.05rem; }
p, ul, dl { margin: .4rem 0; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
code { font-size: .9em; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .3rem 0; }
.soft, .under, dt, footer { color: var(--soft); }
.under { display: block; font-size: .9rem; }
.part { display: block; }
.part + .part { margin-top: .4rem; }
p time, li time { white-space: nowrap; }
.list { padding: 0; list-style: none; }
.list > li, article { margin: .5rem 0; padding: .6rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: .4rem; }
.state { font-weight: 600; }
.good { color: var(--good); } .go { color: var(--go); } .bad { color: var(--bad); }
.why { display: block; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .1rem 1rem; }
dd { margin: 0; min-width: 0; }
article ul { margin: 0; padding-left: 1.1rem; }
summary { padding: .3rem 0; cursor: pointer; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; font-weight: inherit; }
@media (min-width: 56.001rem) {
  table { table-layout: fixed; }
  .all th:nth-child(1) { width: 15%; }
  .all thead th:nth-child(2), .one thead th:nth-child(1) { width: 10%; }
  .all thead th:nth-child(3), .one thead th:nth-child(2) { width: 24%; }
}
thead th { color: var(--soft); border-bottom: 2px solid var(--line); font-size: .9rem; }
tbody { border-bottom: 1px solid var(--line); }
tbody th[scope="rowgroup"] { font-weight: 600; }
pre { margin: .3rem 0; padding: .5rem; white-space: pre-wrap; background: var(--ground); border: 1px solid var(--line); border-radius: .3rem; font-size: .85rem; }
@media (max-width: 56rem) {
  table, tbody, tr, th, td, caption { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody { margin: .7rem 0; padding: .5rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: .4rem; }
  th, td { padding: .1rem 0; }
  tbody th[scope="rowgroup"] { font-size: 1.1rem; }
  tr + tr { margin-top: .4rem; padding-top: .4rem; border-top: 1px solid var(--line); }
  th[scope="row"] { font-weight: 600; }
  td[data-label] { display: grid; grid-template-columns: 7.4rem minmax(0, 1fr); gap: .5rem; }
  td[data-label]::before { content: attr(data-label); color: var(--soft); font-size: .9rem; }
  p time, li time { white-space: normal; }
  td.none { display: none; }
}
@media (max-width: 36rem) {
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .4rem; }
}
@media print { body { max-width: none; } details > * { display: block; } }
`;

/** No script, no image, no font, no frame, no form; and no style but ours. */
export const contentSecurityPolicy = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'; base-uri 'none'; form-action 'none'`;
