// SPDX-License-Identifier: GPL-2.0-or-later
// What was to be signed, by what somebody asks for: many names in many intents are gone through once.
import type { Intent } from '../shared/formats/intent.js';
import { codenameOf, suitesOf } from '../shared/formats/suites.js';

/** Words before the suites of release lines, of a distribution, as signed metadata names them. */
export type LinesOf = (dist: string) => string[];

/** What is asked for later: a long history must not fill the memory with the rest. */
export type AnnouncedIntent = Pick<Intent, 'purpose' | 'dist' | 'key' | 'mode' | 'payload'>;

/** dpkg's files are called <source>_<version>_…; they lie beside the .dsc of their source. */
const sourceOf = (fileName: string): string => fileName.split('_', 1)[0] as string;

/** Signed .changes and .buildinfo that may lie beside a .dsc, where a place cannot tell what it holds. */
export class SignedNames {
  readonly #bySource = new Map<string, Set<string>>();
  readonly #asked = new Set<string>();

  add(name: string): void {
    const names = this.#bySource.get(sourceOf(name));
    if (names === undefined) this.#bySource.set(sourceOf(name), new Set([name]));
    else names.add(name);
  }

  /**
   * Paths beside this .dsc; none where they were asked for already, beside another version of the same
   * source.
   */
  besides(dsc: string): string[] {
    const folder = dsc.slice(0, dsc.lastIndexOf('/') + 1);
    const place = `${folder}${sourceOf(dsc.slice(folder.length))}`;
    if (this.#asked.has(place)) return [];
    this.#asked.add(place);
    return [...(this.#bySource.get(sourceOf(dsc.slice(folder.length))) ?? [])].map(
      (name) => `${folder}${name}`,
    );
  }
}

export class AnnouncedNames {
  /** key, purpose → distributions */
  readonly #dists = new Map<string, Set<string>>();
  /** key → names of .changes and .buildinfo */
  readonly #lists = new Map<string, Set<string>>();

  add(intents: readonly AnnouncedIntent[]): void {
    const put = (into: Map<string, Set<string>>, at: string, value: string): void => {
      const values = into.get(at);
      if (values === undefined) into.set(at, new Set([value]));
      else values.add(value);
    };
    for (const { key, purpose, dist, payload } of intents) {
      put(this.#dists, `${key} ${purpose}`, dist);
      if (purpose === 'deb-changes' || purpose === 'deb-buildinfo') put(this.#lists, key, payload.name);
    }
  }

  /** Whether anything of a distribution was to be signed with this key for this purpose. */
  has(key: string, purpose: Intent['purpose'], dist: string): boolean {
    return this.#dists.get(`${key} ${purpose}`)?.has(dist) ?? false;
  }

  /**
   * Suites whose Release somebody wanted signed with this key; `none` is what a person says who signs by
   * hand.
   */
  suites(key: string, linesOf: LinesOf = () => []): Set<string> {
    const dists = [...(this.#dists.get(`${key} apt-release`) ?? [])].filter((dist) => dist !== 'none');
    // One Release may stand for the distribution itself, or one for each of its suites.
    return new Set(
      dists.flatMap((dist) => [
        dist,
        ...suitesOf(dist, linesOf(dist)).map((suite) => codenameOf(dist, suite)),
      ]),
    );
  }

  /** Names of .changes and .buildinfo that were to be signed with this key. */
  lists(key: string): SignedNames {
    const names = new SignedNames();
    for (const name of this.#lists.get(key) ?? []) names.add(name);
    return names;
  }
}
