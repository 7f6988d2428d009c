// SPDX-License-Identifier: GPL-2.0-or-later
// What each forge showed last as a component's newest version tag, and since when: so that a tag of which
// nothing was made is seen. A listing is a hint that nobody signed; it is shown to people and decides
// nothing.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, writeDurably } from '../../shared/durable-files.js';
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import type { Reporter } from '../../shared/calls/socket-service.js';

export interface VersionTag {
  tag: string;
  tagObject: string;
  version: string;
  annotated: boolean;
  /** of a component that has release lines */
  line?: string | undefined;
}

export interface SeenTag extends VersionTag {
  /** when this tag with this object was first listed, ISO 8601 */
  firstSeen: string;
}

export interface Listing {
  format: 'build-infra/newest-tag@1';
  component: string;
  /** null where the forge showed no version tag */
  newest: SeenTag | null;
  /** why the last listing failed, and since when they do; null when it was answered */
  failed: { code: string; detail: string; since: string } | null;
}

export interface NewestTagsOptions {
  folder: string;
  report: Reporter;
  now?: () => Date;
}

export class NewestTags {
  readonly #options: NewestTagsOptions;
  readonly #listings = new Map<string, Listing>();
  #changed: () => void = () => undefined;

  constructor(options: NewestTagsOptions) {
    this.#options = options;
    makeFolder(options.folder);
    for (const name of readdirSync(options.folder)) {
      const component = name.endsWith('.json') ? name.slice(0, -'.json'.length) : '';
      const bytes = matches(plainNamePattern, component)
        ? readIfThere(join(options.folder, name))
        : undefined;
      if (bytes !== undefined) this.#listings.set(component, JSON.parse(bytes.toString('utf8')) as Listing);
    }
  }

  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  get(component: string): Listing | undefined {
    return this.#listings.get(component);
  }

  /** @param newest the highest version tag of a listing */
  listed(component: string, newest: VersionTag | undefined): void {
    const before = this.#listings.get(component)?.newest ?? undefined;
    const isSame =
      before !== undefined &&
      newest !== undefined &&
      before.tag === newest.tag &&
      before.tagObject === newest.tagObject;
    const firstSeen = isSame ? before.firstSeen : this.#now();
    this.#keep({
      format: 'build-infra/newest-tag@1',
      component,
      newest: newest === undefined ? null : { ...newest, firstSeen },
      failed: null,
    });
  }

  failed(component: string, error: unknown): void {
    const { code, detail } =
      error instanceof AnyRefusal ? error : { code: 'FAULT', detail: printable(String(error)) };
    const before = this.#listings.get(component);
    // The detail may differ each time (a port, a time): the first one stays as long as the code does.
    if (before?.failed?.code === code) return;
    const since = before?.failed?.since ?? this.#now();
    this.#keep({
      format: 'build-infra/newest-tag@1',
      component,
      newest: before?.newest ?? null,
      failed: { code, detail, since },
    });
  }

  #now(): string {
    return (this.#options.now?.() ?? new Date()).toISOString();
  }

  #keep(listing: Listing): void {
    const text = JSON.stringify(listing);
    if (text === JSON.stringify(this.#listings.get(listing.component))) return;
    this.#listings.set(listing.component, listing);
    try {
      writeDurably(join(this.#options.folder, `${listing.component}.json`), `${text}\n`);
    } catch (error) {
      // A full disk must not keep a tag from being built.
      this.#options.report(
        `the newest tag of ${listing.component} could not be written down: ${printable(String(error))}`,
      );
    }
    this.#changed();
  }
}
