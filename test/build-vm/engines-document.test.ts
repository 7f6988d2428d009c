// SPDX-License-Identifier: GPL-2.0-or-later
// docs/engines.md is enough to write an engine: its documents are what the agent writes and takes, and its
// commands try one.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { checkArtifacts, checkEngineJob, checkFailure } from '../../agents/engines/contract.js';
import { tinyPackage } from './forge.js';
import { makePlace, writeTree } from './rpm-packages.js';

const top = fileURLToPath(new URL('../../..', import.meta.url));
const page = readFileSync(join(top, 'docs/engines.md'), 'utf8');
const blocks = (language: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))].map(
    (found) => found[1] as string,
  );

void t.test('the documents of the page are of the contract', (t) => {
  const [job, artifacts, failure, ...more] = blocks('json').map((text) => JSON.parse(text) as unknown);
  t.equal(more.length, 0);
  t.doesNotThrow(() => checkEngineJob(job));
  t.doesNotThrow(() => checkArtifacts(artifacts));
  t.doesNotThrow(() => checkFailure(failure));
  const told = [
    ...page
      .slice(page.indexOf('| field | meaning |'), page.indexOf('What an engine leaves'))
      .matchAll(/^\| `(\w+)`/gm),
  ].map((found) => found[1]);
  const plain = ['format', 'job', 'component', 'env', 'dist'];
  t.same(
    Object.keys(job as object)
      .filter((name) => !plain.includes(name))
      .sort(),
    [...told].sort(),
    'every field that does not speak for itself is explained',
  );
  t.end();
});

void t.test('a document has a source or is of a template, and not both', (t) => {
  const { source, sourceTree, ...rest } = JSON.parse(blocks('json')[0] as string) as Record<string, unknown>;
  const template = JSON.parse(`{${/^ {4}("template": \{.*\})$/m.exec(page)?.[1]}}`) as object;
  t.doesNotThrow(() => checkEngineJob({ ...rest, ...template }));
  t.throws(() => checkEngineJob(rest), { code: 'BAD_DOCUMENT' });
  t.throws(() => checkEngineJob({ ...rest, source, sourceTree, ...template }), { code: 'BAD_DOCUMENT' });
  t.throws(() => checkEngineJob({ ...rest, sourceTree, ...template }), { code: 'BAD_DOCUMENT' });
  t.end();
});

void t.test('the commands of the page try an engine', (t) => {
  const place = makePlace();
  t.teardown(() => place.end());
  const here = (text: string): string => text.replaceAll('/tmp/try', join(place.folder, 'try'));
  mkdirSync(join(place.folder, 'try'));
  writeTree(
    join(place.folder, 'try/source'),
    Object.fromEntries(
      tinyPackage('1.0').map((file) => [
        file.path,
        file.path === 'debian/source/format' ? '3.0 (native)\n' : (file.content ?? ''),
      ]),
    ),
  );
  execFileSync('chmod', ['+x', join(place.folder, 'try/source/debian/rules')]);
  writeFileSync(join(place.folder, 'job.json'), here(blocks('json')[0] as string));
  copyFileSync(join(top, 'test/build-vm/shell-engine'), join(place.folder, 'my-engine'));
  const printed = execFileSync('sh', ['-c', here(blocks('sh')[0] as string)], {
    cwd: place.folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.match(printed, 'ended with 0');
  const said = checkArtifacts(JSON.parse(printed.slice(printed.indexOf('{"format"'))));
  t.ok(said.artifacts.some((file) => file.name === 'hello-tiny_1.0_all.deb'));
  t.end();
});
