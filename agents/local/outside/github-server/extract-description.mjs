// SPDX-License-Identifier: GPL-2.0-or-later
// Makes description.json: what GitHub's published OpenAPI description says of the calls that the notifier
// makes, word for word but without its prose and examples. The whole description is 28 MB packed and 400 MB
// laid out, which nobody should have to install to run a test.
//   npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
//   node extract-description.mjs package/generated description.json
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, target] = process.argv.slice(2);
if (target === undefined) throw new Error('usage: extract-description.mjs FOLDER-OF-THE-PACKAGE TARGET');

const calls = {
  '/repos/{owner}/{repo}': ['get'],
  '/repos/{owner}/{repo}/issues': ['get', 'post'],
  '/repos/{owner}/{repo}/issues/comments': ['get'],
  '/repos/{owner}/{repo}/issues/{issue_number}': ['get', 'patch'],
  '/repos/{owner}/{repo}/issues/{issue_number}/comments': ['get', 'post'],
  '/repos/{owner}/{repo}/issues/{issue_number}/labels': ['get', 'post'],
  '/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}': ['delete'],
  '/search/issues': ['get'],
};
const prose = new Set([
  'description',
  'summary',
  'example',
  'examples',
  'externalDocs',
  'x-github',
  'x-multi-segment',
  'title',
  'tags',
]);

/** Only as keywords: a property may be called `title` or `description`. */
function withoutProse(value, names) {
  if (Array.isArray(value)) return value.map((one) => withoutProse(one, false));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, one]) =>
      !names && prose.has(key) ? [] : [[key, withoutProse(one, !names && key === 'properties')]],
    ),
  );
}

function extract(name, withAnswers) {
  const whole = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  const made = {
    openapi: whole.openapi,
    info: { version: whole.info.version, title: whole.info.title, license: whole.info.license },
    paths: {},
    components: {},
  };
  for (const [path, methods] of Object.entries(calls)) {
    made.paths[path] = {};
    for (const method of methods) {
      const { parameters, requestBody, responses } = whole.paths[path][method];
      made.paths[path][method] = withoutProse(
        {
          parameters,
          requestBody,
          responses: withAnswers
            ? Object.fromEntries(Object.entries(responses).filter(([status]) => status.startsWith('2')))
            : undefined,
        },
        false,
      );
    }
  }
  const waiting = [made.paths];
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (value === null || typeof value !== 'object') continue;
    if (typeof value.$ref === 'string') {
      const [kind, key] = value.$ref.replace('#/components/', '').split('/');
      made.components[kind] ??= {};
      if (made.components[kind][key] === undefined)
        waiting.push((made.components[kind][key] = withoutProse(whole.components[kind][key], false)));
    }
    waiting.push(...Object.values(value));
  }
  return made;
}

const source = JSON.parse(readFileSync(join(folder, '../package.json'), 'utf8'));
writeFileSync(
  target,
  `${JSON.stringify({ source: `${source.name} ${source.version}`, licence: 'MIT, Copyright GitHub, Inc.', 'api.github.com': extract('api.github.com.json', true), 'ghes-3.17': extract('ghes-3.17.json', false) })}\n`,
);
