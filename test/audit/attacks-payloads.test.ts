// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on what was signed: payloads that are not public, metadata that was signed and is shown to some only, or shown once more when it is old,
// and signatures that are used for something else than was announced.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import tap from 'tap';
import { publishedPayloadLimitBytes, type Intent } from '../../agents/shared/formats/intent.js';
import { attack, good, keys } from './attack.js';
import { Farm, sha256, type Wanted } from './farm.js';
import { verdict } from './run-audit.js';

const small: Wanted = { purpose: 'apt-release', name: 'Release', mode: 'detach', payload: Buffer.from('Codename: x\nSHA256:\n') };

for (const purpose of ['deb-dsc', 'deb-buildinfo', 'deb-changes', 'apt-release', 'rpm-repomd', 'link', 'other'] as const) {
  attack(`a payload of ${purpose} that is not published`, ['payloads PAYLOAD_NOT_PUBLISHED'], (farm) => {
    const { path, document } = farm.intent([{ ...small, purpose }]);
    farm.logs.commit({ put: { [path]: document } });
  }, { commit: 'head' });
}
attack('a payload that is published by the next commit', ['payloads PAYLOAD_NOT_PUBLISHED', 'payloads PAYLOAD_WITHOUT_INTENT'], (farm) => {
  const { path, document, put } = farm.intent([small]);
  farm.logs.commit({ put: { [path]: document } });
  farm.logs.commit({ put: Object.fromEntries(Object.entries(put).filter(([name]) => name !== path)) });
});
attack('a payload that was published before its intent', ['payloads PAYLOAD_NOT_PUBLISHED', 'payloads PAYLOAD_WITHOUT_INTENT'], (farm) => {
  const { path, document, put } = farm.intent([small]);
  farm.logs.commit({ put: Object.fromEntries(Object.entries(put).filter(([name]) => name !== path)) });
  farm.logs.commit({ put: { [path]: document } });
});
attack('a payload with other bytes', ['payloads PAYLOAD_DIFFERS'], (farm) => {
  const { path, document, put } = farm.intent([small]);
  farm.logs.commit({ put: { ...Object.fromEntries(Object.keys(put).map((name) => [name, 'Codename: y\nSHA256:\n'])), [path]: document } });
}, { commit: 'head' });
attack('a payload that has grown', ['payloads PAYLOAD_DIFFERS'], (farm) => {
  const { path, put } = farm.intent([small]);
  farm.logs.commit({ put });
  farm.logs.commit({ put: Object.fromEntries(Object.entries(put).filter(([name]) => name !== path).map(([name, data]) => [name, `${data.toString()}\n`])) });
}, { commit: 'head' });
attack('a payload that no intent names', ['payloads PAYLOAD_WITHOUT_INTENT'], (farm) => {
  const { put } = farm.intent([small]);
  farm.logs.commit({ put: { ...put, [`payloads/build-debian/2026-11-21/${sha256('x')}/${sha256('y')}`]: 'y' } });
}, { commit: 'head' });
attack('a payload beside the place that payloads have', ['file-lines BAD_PATH'], (farm) => void farm.logs.commit({ put: { [`payloads/build-debian/2026-11-21/${sha256('x')}/notes`]: 'y' } }), { commit: 'head' });
attack('a Release that is too large to be published', ['payloads PAYLOAD_TOO_LARGE'], (farm) => {
  farm.logs.commit({ put: farm.intent([{ ...small, payload: Buffer.concat([small.payload, Buffer.alloc(publishedPayloadLimitBytes, '#')]) }]).put });
}, { commit: 'head' });
attack('one payload with two sizes', ['payloads PAYLOAD_DIFFERS'], (farm) => {
  const { document, put, path } = farm.intent([small, { ...small, mode: 'clearsign' }]);
  const bad = document.replace(`"size":${small.payload.length}`, `"size":${small.payload.length}`).replace(new RegExp(`"size":${small.payload.length}(?!.*"size")`), '"size":3');
  const hash = sha256(bad);
  farm.logs.commit({ put: Object.fromEntries(Object.entries(put).map(([name, data]) => [name.replace(sha256(document), hash), name === path ? bad : data])) });
}, { commit: 'head' });

/** The repository's Release once more, with one line of difference, signed; served as it was. @returns the signatures */
function newRelease(farm: Farm, more: string, change: Partial<Wanted> = {}, dist = 'bookworm'): { payload: Buffer; inRelease: Buffer; detached: Buffer } {
  const payload = Buffer.from(readFileSync(join(farm.apt, 'dists/bookworm/Release'), 'utf8').replace(/^Origin: .*$/m, `Origin: ${more}`));
  const [inRelease, detached] = farm.signAll([{ purpose: 'apt-release', name: 'Release', mode: 'clearsign', payload, ...change }, { purpose: 'apt-release', name: 'Release', mode: 'detach', payload, ...change, ...(change.mode === undefined ? {} : { mode: 'detach' as const }) }], dist) as [Buffer, Buffer];
  return { payload, inRelease, detached };
}
function serve(farm: Farm, { payload, inRelease, detached }: ReturnType<typeof newRelease>): void {
  farm.put('dists/bookworm/Release', payload);
  farm.put('dists/bookworm/InRelease', inRelease);
  farm.put('dists/bookworm/Release.gpg', detached);
}
const asWas = (farm: Farm): ReturnType<typeof newRelease> => ({
  payload: readFileSync(join(farm.apt, 'dists/bookworm/Release')), inRelease: readFileSync(join(farm.apt, 'dists/bookworm/InRelease')), detached: readFileSync(join(farm.apt, 'dists/bookworm/Release.gpg')),
});

attack("last month's signed Release, served again", ['apt-signatures OLD_RELEASE'], (farm) => {
  const old = asWas(farm);
  serve(farm, newRelease(farm, 'newer'));
  serve(farm, old);
}, { path: 'dists/bookworm/InRelease' });
attack('only Release.gpg and its Release are of last month', ['apt-signatures OLD_RELEASE', 'apt-signatures RELEASE_DIFFERS'], (farm) => {
  const old = asWas(farm);
  serve(farm, { ...old, inRelease: newRelease(farm, 'newer').inRelease });
});
attack("last month's Release, signed once more today", ['apt-signatures OLD_RELEASE'], (farm) => {
  newRelease(farm, 'newer');
  // Under another name, for one document is granted once.
  serve(farm, newRelease(farm, 'build-infra', { name: 'Release.new' }));
});
attack('a Release that was signed and never served', ['apt-signatures OLD_RELEASE'], (farm) => void newRelease(farm, 'victim'));
attack('a Release that was signed under another purpose and never served', ['apt-signatures OLD_RELEASE'], (farm) => void newRelease(farm, 'victim', { purpose: 'other', name: 'notes' }));
for (const [purpose, name] of [['other', 'Release'], ['link', 'x.link'], ['deb-changes', 'Release'], ['rpm-repomd', 'repomd.xml']] as const) {
  attack(`a Release that was announced as ${purpose}`, ['apt-signatures WRONG_PURPOSE'], (farm) => serve(farm, newRelease(farm, purpose, { purpose, name })), { path: 'dists/bookworm/InRelease' });
}
attack('a Release that was announced for another distribution', ['apt-signatures WRONG_NAME'], (farm) => serve(farm, newRelease(farm, 'x', {}, 'trixie')));
attack('a Release that was announced for no distribution', ['apt-signatures WRONG_NAME'], (farm) => serve(farm, newRelease(farm, 'x', {}, 'none')));
attack('a Release that was announced for a distribution whose name only begins so', ['apt-signatures WRONG_NAME'], (farm) => serve(farm, newRelease(farm, 'x', {}, 'book')));
attack('a Release that was announced under another name', ['apt-signatures WRONG_NAME'], (farm) => serve(farm, newRelease(farm, 'x', { name: 'notes' })));

/** The .dsc and .buildinfo of the good farm, announced as something else. */
function signPoolFile(farm: Farm, name: string, change: Partial<Wanted>): void {
  const path = `pool/main/h/hello/${name}`;
  const source = readFileSync(join(farm.apt, 'pool/main/h/hello/hello_2.10-3.tar.xz'));
  // A .dsc and a .changes have to name files.
  const payload = Buffer.from(`Format: 1.0\nSource: hello\nVersion: ${JSON.stringify(change).length}\nChecksums-Sha256:\n ${sha256(source)} ${source.length} hello_2.10-3.tar.xz\n`);
  const [signed] = farm.signAll([{ purpose: 'other', name, mode: 'clearsign', payload, ...change }]) as [Buffer];
  farm.put(path, signed);
}
for (const [name, purpose] of [['hello_2.10-3_amd64.buildinfo', 'deb-buildinfo'], ['hello_2.10-3_amd64.changes', 'deb-changes'], ['other_1.dsc', 'deb-dsc']] as [string, Intent['purpose']][]) {
  attack(`${name} that was announced as other`, ['apt-signatures WRONG_PURPOSE'], (farm) => signPoolFile(farm, name, {}), { path: `pool/main/h/hello/${name}` });
  attack(`${name} that was announced under another name`, ['apt-signatures WRONG_NAME'], (farm) => signPoolFile(farm, name, { purpose, name: `x${name}` }), { path: `pool/main/h/hello/${name}` });
}

/** A farm that is good, and what its audit tells of signatures that nobody serves. */
function told(name: string, change: (farm: Farm) => void, expected: object[], extra: (farm: Farm) => readonly string[] = () => []): void {
  void tap.test(name, async (t) => {
    const farm = new Farm(keys, good);
    t.teardown(() => farm.remove());
    change(farm);
    const result = await verdict(farm, extra(farm));
    t.same(result.codes, []);
    t.match(result.unseen, expected);
    t.equal(result.unseen.length, expected.length);
    t.ok(result.ok);
    for (const one of result.unseen) t.equal(result.table.includes(one.sha256), one.state !== 'earlier', `the table tells of ${one.state}`);
    t.match(JSON.parse(result.json), { ok: true, unseen: expected });
  });
}
told('nothing is told of a farm whose every signature is in use', () => undefined, []);
told('a newer Release takes the place of the one before', (farm) => serve(farm, newRelease(farm, 'newer')), [{ kind: 'apt', state: 'earlier', names: ['bookworm'], purposes: ['apt-release'] }]);
told('one signed for a suite that nobody serves is told of', (farm) => {
  farm.signAll([{ ...small, payload: Buffer.from('Codename: bookworm-victim\nSHA256:\n') }]);
}, [{ kind: 'apt', state: 'nowhere', names: ['bookworm-victim'], purposes: ['apt-release'], payloadNames: ['Release'], dists: ['bookworm'] }]);
told('one that is announced as notes is told of', (farm) => {
  farm.signAll([{ purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('Suite: stable\nsha512 :\n') }]);
}, [{ kind: 'apt', state: 'nowhere', names: ['stable'], purposes: ['other'], payloadNames: ['notes'] }]);
told('one that is padded until it need not be public is told of', (farm) => {
  farm.signAll([{ purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.concat([asWas(farm).payload, Buffer.alloc(publishedPayloadLimitBytes, '\n')]) }]);
}, [{ kind: 'unknown', state: 'not-public', names: [], path: null, purposes: ['other'], payloadNames: ['notes'] }]);
told('repomd.xml of a distribution that is not looked at is told of', (farm) => {
  farm.signAll([{ purpose: 'rpm-repomd', name: 'repomd.xml', mode: 'detach', payload: Buffer.from('<repomd xmlns="x"><tags><content>fc99-current</content></tags></repomd>') }], 'fc99');
}, [{ kind: 'dnf', state: 'nowhere', names: ['fc99-current'], dists: ['fc99'] }]);
told('signatures of other things are nobody\'s metadata', (farm) => {
  farm.signAll([{ purpose: 'other', name: 'git-tag', mode: 'detach', payload: Buffer.from('object 1\ntype commit\n\nv1\n') }]);
}, []);
told('earlier generations that the auditor has are in use', (farm) => {
  const old = asWas(farm);
  farm.putBeside('apt.releases/000001-0123456789ab/dists/bookworm/InRelease', old.inRelease);
  serve(farm, newRelease(farm, 'newer'));
}, []);
void tap.test('an upload may take an hour, and then a Release that is not served is a finding', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  farm.logs.setClock(Date.now() - 600_000);
  newRelease(farm, 'on its way');
  const soon = await verdict(farm);
  t.same(soon.codes, []);
  t.match(soon.unseen, [{ state: 'waiting' }]);
  farm.logs.setClock(Date.now() - 3_500_000);
  t.same((await verdict(farm)).codes, []);
  const late = new Farm(keys, good);
  t.teardown(() => late.remove());
  late.logs.setClock(Date.now() - 3_700_000);
  newRelease(late, 'lost');
  t.same((await verdict(late)).codes, ['apt-signatures OLD_RELEASE']);
  // What is on its way excuses nothing that was there before.
  const both = new Farm(keys, good);
  t.teardown(() => both.remove());
  const old = asWas(both);
  serve(both, newRelease(both, 'newer'));
  serve(both, old);
  both.logs.setClock(Date.now() - 600_000);
  newRelease(both, 'on its way');
  t.same((await verdict(both)).codes, ['apt-signatures OLD_RELEASE']);
});

/** A Release of this end; undefined: without. */
const ending = (farm: Farm, more: string, until?: string): ReturnType<typeof newRelease> => newRelease(farm, until === undefined ? more : `${more}\nDate: Sun, 22 Nov 2026 00:00:00 UTC\nValid-Until: ${until}`);
const until = 'Sun, 29 Nov 2026 00:00:00 UTC';
const end = Date.parse(until);
const at = (farm: Farm, now: number): ReturnType<typeof verdict> => verdict(farm, [], undefined, now);

void tap.test('a Release that is served after its end is a finding, to the second', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  serve(farm, ending(farm, 'x', until));
  const fresh = await at(farm, end - 1000);
  t.same(fresh.codes, []);
  t.same(fresh.endings, ['InRelease', 'Release.gpg'].map((name) => ({ path: `dists/bookworm/${name}`, validUntil: until, earlier: null })));
  const over = await at(farm, end);
  t.same(over.codes, ['apt-signatures EXPIRED_RELEASE']);
  t.match(over.checks.find(({ name }) => name === 'apt-signatures')?.findings, [{ path: 'dists/bookworm/InRelease', expected: 'a Valid-Until after 2026-11-29T00:00:00.000Z', found: /^Sun, 29 Nov 2026 00:00:00 UTC; sha256:/ }, { path: 'dists/bookworm/Release.gpg' }]);
});

void tap.test('after a renewal it is the new one that counts, and the old one served again is found by both', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const old = ending(farm, 'x', until);
  serve(farm, ending(farm, 'x', 'Sun, 06 Dec 2026 00:00:00 UTC'));
  const renewed = await at(farm, end + 1000);
  t.same(renewed.codes, []);
  t.match(renewed.endings, [{ validUntil: 'Sun, 06 Dec 2026 00:00:00 UTC', earlier: until }, {}]);
  serve(farm, old);
  t.same((await at(farm, end + 1000)).codes, ['apt-signatures EXPIRED_RELEASE', 'apt-signatures OLD_RELEASE']);
  t.same((await at(farm, end - 1000)).codes, ['apt-signatures OLD_RELEASE'], 'also before its end');
});

void tap.test('that a Release has no end though earlier ones had one is said, and no finding', async (t) => {
  const farm = new Farm(keys, good);
  t.teardown(() => farm.remove());
  const plain = await verdict(farm);
  t.same(plain.endings, [], 'of a farm without the setting nothing is said');
  ending(farm, 'x', until);
  serve(farm, ending(farm, 'without'));
  const taken = await verdict(farm);
  t.same(taken.codes, []);
  t.match(taken.endings, [{ path: 'dists/bookworm/InRelease', validUntil: null, earlier: until }, { path: 'dists/bookworm/Release.gpg' }]);
  t.match(taken.table, `dists/bookworm/InRelease: no Valid-Until, though an earlier one had it (${until})`);
  t.match(JSON.parse(taken.json), { ok: true, endings: taken.endings });
  serve(farm, ending(farm, 'far', 'Sun, 29 Nov 2126 00:00:00 UTC'));
  t.match((await verdict(farm)).table, /dists\/bookworm\/InRelease: valid until Sun, 29 Nov 2126 00:00:00 UTC, for [0-9]+ days/);
});
for (const [what, text] of [['no time', 'never'], ['one in another spelling', '2126-11-29']] as const) {
  void tap.test(`a Release whose Valid-Until is ${what} is none of this farm's`, async (t) => {
    const farm = new Farm(keys, good);
    t.teardown(() => farm.remove());
    serve(farm, ending(farm, 'x', text));
    t.ok((await verdict(farm)).codes.includes('apt-files BAD_INDEX'));
  });
}
