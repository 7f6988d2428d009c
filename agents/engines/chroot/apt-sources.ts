// SPDX-License-Identifier: GPL-2.0-or-later
// Where the chroot's packages come from: the mirror that this VM's own apt uses. No mirror is written into
// the code.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import { runProgram } from '../../shared/programs/program.js';

export interface AptSource {
  uri: string;
  suite: string;
  components: string[];
  /** a keyring file of this VM, where the entry names one */
  signedBy: string | undefined;
}

function fieldsOf(paragraph: string): Map<string, string> {
  return new Map(
    paragraph.split('\n').flatMap((line) => {
      const colon = line.indexOf(': ');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 2)] as [string, string]];
    }),
  );
}

/** The keyring that an entry `FILE:NUMBER` names, if it names a file. */
function signedBy(entry: string | undefined, uri: string): string | undefined {
  const file = /^(.*):[0-9]+$/.exec(entry ?? '')?.[1];
  if (file === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const bare = uri.replace(/\/+$/, '');
  const parts = file.endsWith('.sources') ? text.split(/\n\s*\n/) : text.split('\n');
  const mine = parts.find(
    (part) => !/^\s*#/.test(part) && part.split(/\s+/).some((word) => word.replace(/\/+$/, '') === bare),
  );
  return /(?:^Signed-By:\s*|signed-by=)(\/[^\s\],]+)/im.exec(mine ?? '')?.[1];
}

/** `apt-get indextargets`, parsed: what to give to mmdebstrap for one suite. @throws Refusal NO_MIRROR */
export function sourcesFor(suite: string, indexTargets: string): AptSource[] {
  const found = new Map<string, AptSource>();
  const debian = new Map<string, AptSource>();
  for (const paragraph of indexTargets.split('\n\n')) {
    const fields = fieldsOf(paragraph);
    const uri = fields.get('Repo-URI');
    const release = fields.get('Release');
    const component = fields.get('Component');
    if (
      fields.get('Created-By') !== 'Packages' ||
      uri === undefined ||
      release === undefined ||
      component === undefined
    )
      continue;
    const family = [suite, `${suite}-updates`, `${suite}-security`].includes(release)
      ? found
      : /^[a-z]+$/.test(release)
        ? debian
        : undefined;
    if (family === undefined) continue;
    const known = family.get(`${uri} ${release}`);
    if (known === undefined)
      family.set(`${uri} ${release}`, {
        uri,
        suite: release,
        components: [component],
        signedBy: signedBy(fields.get('Sourcesentry'), uri),
      });
    else if (!known.components.includes(component)) known.components.push(component);
  }
  if ([...found.values()].some((source) => source.suite === suite)) return [...found.values()];
  // Another suite than this VM's own: the same mirror has it, or mmdebstrap says that it has not.
  const [first] = debian.values();
  if (first === undefined) throw new Refusal('NO_MIRROR', 'the apt configuration of this VM names no mirror');
  return [{ ...first, suite, components: ['main'] }];
}

export function sourceLines(sources: readonly AptSource[]): string {
  return sources
    .map(
      ({ uri, suite, components, signedBy: keyring }) =>
        `deb ${keyring === undefined ? '' : `[signed-by=${keyring}] `}${uri} ${suite} ${components.join(' ')}\n`,
    )
    .join('');
}

/**
 * apt tells of mirrors only whose lists it has: a VM that was just started has none, and fetches them first.
 * @param cache a folder of all engines: those that run side by side fetch one after the other, since apt
 * itself would only say that it is locked
 * @throws Refusal NO_MIRROR
 */
export async function readAptSources(suite: string, cache: string): Promise<AptSource[]> {
  makeFolder(cache);
  const alone = ['flock', join(cache, 'apt-lists.lock')];
  const read = async (): Promise<string> =>
    (await runProgram([...alone, 'apt-get', 'indextargets'], { timeoutMs: 600_000 })).toString('utf8');
  const known = await read();
  if (known.trim() !== '') return sourcesFor(suite, known);
  await runProgram(
    [...alone, 'apt-get', '-q', '-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Languages=none', 'update'],
    { timeoutMs: 600_000 },
  );
  return sourcesFor(suite, await read());
}

/** This VM's proxy settings of apt, as lines of an apt.conf. */
export async function readAptProxies(): Promise<string> {
  const dump = (await runProgram(['apt-config', 'dump'], { timeoutMs: 60_000 })).toString('utf8');
  return dump
    .split('\n')
    .filter((line) => /^Acquire::https?::Proxy(?:::[A-Za-z0-9.-]+)? "[^"]+";$/.test(line))
    .map((line) => `${line}\n`)
    .join('');
}
