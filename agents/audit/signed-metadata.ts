// SPDX-License-Identifier: GPL-2.0-or-later
// Which Release and repomd.xml was ever signed, and when: from the journals and the published payloads. The
// newest of each suite is what has to be served; one that is found nowhere is told of, for somebody may have
// been shown it alone.
import { printable } from '../shared/refusal.js';
import type { Metadata } from '../published/packages/taken-metadata.js';
import type { Findings } from './findings.js';
import type { AnnouncedIntent } from './announced-names.js';
import type { PublishedIntents } from './intents.js';
import type { Signature } from './journal.js';

/** A public payload that is metadata, and where it was published first. */
export interface PublishedMetadata {
  path: string;
  metadata: Metadata;
}

/** A signature that was met in a repository. */
export interface Served {
  kind: 'apt' | 'dnf';
  /** the repository before its path, for findings */
  place: string;
  /** the suite's folder, or what its <content> has to be */
  suite: string;
  path: string;
  signature: Signature;
}

/** A Release that is served, where it has an end, or an earlier one of its suite had one. */
export interface Ending {
  path: string;
  /**
   * its Valid-Until, as written; null: it never ends, and holds a client at what is in it for as long as
   * somebody serves it
   */
  validUntil: string | null;
  /** of the newest before it that had one */
  earlier: string | null;
}

/** A signed payload that no repository shows. */
export interface Unseen {
  kind: 'apt' | 'dnf' | 'unknown';
  names: readonly string[];
  /**
   * `earlier`: its suite serves a newer one; `waiting`: signed within the last hour; `nowhere`: neither;
   * `not-public`: nobody can tell what it is
   */
  state: 'earlier' | 'waiting' | 'nowhere' | 'not-public';
  key: string;
  sha256: string;
  /** of the payload in the logs repository, null where it is not public */
  path: string | null;
  /** of the first signature */
  time: string;
  keysVm: string;
  /** of the publication that granted it */
  commit: string;
  purposes: readonly string[];
  payloadNames: readonly string[];
  dists: readonly string[];
}

/** So long an upload may take, from the signature on. */
export const uploadMs = 3600_000;

interface Signed {
  key: string;
  payload: string;
  first: Signature;
  signatures: Signature[];
}

const isBefore = (a: Signature, b: Signature): boolean =>
  a.keysVm === b.keysVm ? a.entry.seq < b.entry.seq : Date.parse(a.entry.time) < Date.parse(b.entry.time);
const words = ({ payload, first }: Signed): string =>
  `sha256:${payload} signed ${first.entry.time} (entry ${first.entry.seq} of ${first.keysVm}, granted by commit ${first.entry.commit})`;

export class SignedMetadata {
  /** in the order of the journals */
  readonly #all: Signed[] = [];
  /** by key and payload */
  readonly #signed = new Map<string, Map<string, Signed>>();
  readonly #payloads: ReadonlyMap<string, PublishedMetadata | undefined>;
  readonly #intents: PublishedIntents;
  readonly #findings: Findings;
  readonly #now: number;

  /** @param signatures of all journals @param payloads what is public, by SHA-256 */
  constructor(
    signatures: Iterable<Signature>,
    payloads: ReadonlyMap<string, PublishedMetadata | undefined>,
    intents: PublishedIntents,
    findings: Findings,
    now = Date.now(),
  ) {
    this.#payloads = payloads;
    this.#intents = intents;
    this.#findings = findings;
    this.#now = now;
    for (const signature of signatures) {
      const { key, sha256: payload } = signature.entry;
      let ofKey = this.#signed.get(key);
      if (ofKey === undefined) this.#signed.set(key, (ofKey = new Map<string, Signed>()));
      const known = ofKey.get(payload);
      if (known === undefined) {
        const one = { key, payload, first: signature, signatures: [signature] };
        ofKey.set(payload, one);
        this.#all.push(one);
      } else {
        known.signatures.push(signature);
        // Signing old bytes once more does not make them new.
        if (isBefore(signature, known.first)) known.first = signature;
      }
    }
  }

  #shown({ signature: { entry } }: Served): Signed {
    return this.#signed.get(entry.key)?.get(entry.sha256) as Signed;
  }

  /** What was signed with a key and is public metadata. */
  #metadataOf(key: string): { one: Signed; metadata: Metadata }[] {
    return [...(this.#signed.get(key)?.values() ?? [])].flatMap((one) => {
      const metadata = this.#payloads.get(one.payload)?.metadata;
      return metadata === undefined ? [] : [{ one, metadata }];
    });
  }

  /** An upload may be under way: then the one before it is still right. */
  #isWaiting({ first }: Signed): boolean {
    const age = this.#now - Date.parse(first.entry.time);
    return age < uploadMs && age > -uploadMs;
  }

  /** The newest signed metadata of each suite is the one that is served there. */
  judge(served: readonly Served[]): void {
    const suites = new Map<string, Served[]>();
    for (const one of served) {
      const name = [one.kind, one.signature.entry.key, one.suite, one.place].join(' ');
      suites.set(name, [...(suites.get(name) ?? []), one]);
    }
    for (const group of suites.values()) {
      const [
        {
          kind,
          suite,
          signature: {
            entry: { key },
          },
        },
      ] = group as [Served, ...Served[]];
      const chain = this.#metadataOf(key)
        .filter(({ metadata }) => metadata.kind === kind && metadata.names.includes(suite))
        .map(({ one }) => one);
      for (const one of group) {
        const shown = this.#shown(one);
        // Another suite's: that is a finding of its own.
        if (this.#payloads.get(shown.payload)?.metadata?.names.includes(suite) === false) continue;
        const newer = chain.filter(
          (other) => other !== shown && isBefore(shown.first, other.first) && !this.#isWaiting(other),
        );
        const newest = newer.reduce<Signed | undefined>(
          (best, other) => (best === undefined || isBefore(best.first, other.first) ? other : best),
          undefined,
        );
        if (newest === undefined) continue;
        this.#findings.wrong(`${kind}-signatures`, {
          code: 'OLD_RELEASE',
          path: printable(`${one.place}${one.path}`),
          expected: `the newest that was signed of ${printable(suite)}: ${words(newest)}`,
          found: words(shown),
        });
      }
    }
  }

  /** apt refuses a Release after its end: whoever serves one then keeps clients from what is newer. */
  endings(served: readonly Served[]): Ending[] {
    const found: Ending[] = [];
    for (const one of served) {
      const {
        kind,
        place,
        suite,
        path,
        signature: {
          entry: { key },
        },
      } = one;
      const shown = this.#shown(one);
      const validUntil = this.#payloads.get(shown.payload)?.metadata?.validUntil ?? null;
      const before = this.#metadataOf(key)
        .filter(
          ({ metadata, one: { first } }) =>
            metadata.kind === kind &&
            metadata.validUntil !== undefined &&
            metadata.names.includes(suite) &&
            isBefore(first, shown.first),
        )
        .map((other) => other.one);
      const earlier = before.reduce<Signed | undefined>(
        (best, other) => (best === undefined || isBefore(best.first, other.first) ? other : best),
        undefined,
      );
      const at = printable(`${place}${path}`);
      if (validUntil !== null || earlier !== undefined)
        found.push({
          path: at,
          validUntil: validUntil === null ? null : printable(validUntil),
          earlier:
            earlier === undefined
              ? null
              : printable(this.#payloads.get(earlier.payload)?.metadata?.validUntil ?? ''),
        });
      // What is no time is over.
      if (validUntil !== null && !(Date.parse(validUntil) > this.#now)) {
        this.#findings.wrong('apt-signatures', {
          code: 'EXPIRED_RELEASE',
          path: at,
          expected: `a Valid-Until after ${new Date(this.#now).toISOString()}`,
          found: `${printable(validUntil)}; ${words(shown)}`,
        });
      }
    }
    return found;
  }

  /**
   * What was signed and is served nowhere. @param served of all repositories @param keys whose repositories
   * were looked at, and of which kind
   */
  unseen(served: readonly Served[], seen: ReadonlySet<Signature>, keys: ReadonlySet<string>): Unseen[] {
    const shown = new Set([...seen].map(({ entry }) => `${entry.key} ${entry.sha256}`));
    const suites = new Set(
      served.map(({ kind, suite, signature }) => [kind, signature.entry.key, suite].join(' ')),
    );
    const found: Unseen[] = [];
    for (const one of this.#all) {
      if (shown.has(`${one.key} ${one.payload}`)) continue;
      const { entry, keysVm } = one.first;
      const known = this.#payloads.get(one.payload);
      const intents = one.signatures
        .flatMap(({ entry: { intent } }) => this.#intents.announced(intent))
        .filter(({ payload }) => payload.sha256 === one.payload);
      // Every public payload that is no metadata can be looked at by whoever wants to.
      if (known === undefined && this.#payloads.has(one.payload)) continue;
      if (
        known === undefined &&
        intents.every(({ purpose }) => purpose === 'rpm-header') &&
        !keys.has(`dnf ${one.key}`)
      )
        continue;
      const { kind = 'unknown', names = [] } = known?.metadata ?? {};
      const isInUse = names.some((suite) => suites.has([kind, one.key, suite].join(' ')));
      const isLater =
        isInUse &&
        !served.some(
          (other) =>
            other.kind === kind && names.includes(other.suite) && isBefore(one.first, other.signature),
        );
      const state =
        known === undefined
          ? 'not-public'
          : this.#isWaiting(one) && isLater
            ? 'waiting'
            : isInUse && !isLater
              ? 'earlier'
              : 'nowhere';
      const each = <T>(of: (intent: AnnouncedIntent) => T): T[] => [...new Set(intents.map(of))];
      found.push({
        kind,
        names: names.map(printable),
        state,
        key: one.key,
        sha256: one.payload,
        path: known?.path ?? null,
        time: entry.time,
        keysVm,
        commit: entry.commit,
        purposes: each(({ purpose }) => purpose),
        payloadNames: each(({ payload }) => payload.name),
        dists: each(({ dist }) => dist),
      });
    }
    return found;
  }
}
