// SPDX-License-Identifier: GPL-2.0-or-later
// Times as the page shows them: absolute ones in UTC for people and for programs, and coarse ages as of the
// time at which the page was made.
import { html, type Markup } from './markup.js';

/** 2026-11-22T05:37:01Z; what is no time is given back as it is. */
export function toSeconds(time: string): string {
  return /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z$/.test(time) ? `${time.slice(0, 19)}Z` : time;
}

export function timeElement(untrustedTime: string | null): Markup {
  if (untrustedTime === null || Number.isNaN(Date.parse(untrustedTime))) return html`unknown`;
  const time = toSeconds(new Date(untrustedTime).toISOString());
  return html`<time datetime="${time}">${time.slice(0, 10)} ${time.slice(11, 16)} UTC</time>`;
}

/** Hours up to two days, then days, never more exact: within an hour the same state makes the same page. */
export function ageOf(time: string, made: string): string {
  const hours = Math.floor((Date.parse(made) - Date.parse(time)) / 3600_000);
  if (Number.isNaN(hours)) return 'unknown';
  if (hours < 1) return 'under an hour';
  if (hours < 48) return hours === 1 ? '1 hour' : `${hours} hours`;
  return `${Math.floor(hours / 24)} days`;
}

export function secondsText(seconds: number): string {
  return `${seconds.toFixed(1)} s`;
}
