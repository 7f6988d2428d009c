// SPDX-License-Identifier: GPL-2.0-or-later
// The manifest of a role: what goes into its VMs, as data (salt/README.md). Salt reads the same files.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import type { Check } from '../../shared/json-document.js';
import { checkWith } from '../../shared/json-schema.js';
import type { Manifest } from '../../shared/formats/manifest.js';
import { allConditions } from './vms.js';

const path = { type: 'string', pattern: '^(?:/[A-Za-z0-9_][A-Za-z0-9._-]*|/\\.gnupg)+$' } as const;
const source = { type: 'string', pattern: '^(?:dist|files|units|templates|qrexec-services|policy\\.jinja)(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$' } as const;
const account = { enum: ['root', 'user', 'qubes'] } as const;
const mode = { type: 'string', pattern: '^[01][0-7]{3}$' } as const;
const folder = { type: 'object', additionalProperties: false, required: ['path', 'owner', 'group', 'mode'], properties: { path, owner: account, group: account, mode } } as const;
const when = { enum: allConditions } as const;
const needs = { type: 'array', items: { enum: ['signing-key', 'logs-key'] }, minItems: 1 } as const;
const file = {
  type: 'object', required: ['path', 'owner', 'group'],
  oneOf: [
    { type: 'object', additionalProperties: false, required: ['path', 'owner', 'group', 'source', 'mode'], properties: { path, source, owner: account, group: account, mode, when } },
    { type: 'object', additionalProperties: false, required: ['path', 'owner', 'group', 'template', 'mode'], properties: { path, template: source, owner: account, group: account, mode, needs, when } },
    { type: 'object', additionalProperties: false, required: ['path', 'owner', 'group', 'link'], properties: { path, link: path, owner: account, group: account, when } },
  ],
  properties: { path: true, owner: true, group: true },
} as const;
const names = { type: 'array', items: { type: 'string', pattern: '^[a-z0-9][a-z0-9+._-]+$' }, uniqueItems: true } as const;
const checkManifest: Check<Manifest> = checkWith({
  type: 'object', additionalProperties: false, required: ['format', 'role', 'vm'],
  properties: {
    format: { const: 'build-infra/manifest@1' },
    role: { enum: ['build', 'keys', 'build-logs', 'sys-net', 'dom0'] },
    template: {
      type: 'object', additionalProperties: false, required: ['packages', 'files'],
      properties: {
        packages: { type: 'object', additionalProperties: false, required: ['Debian', 'RedHat'], properties: { Debian: names, RedHat: names } },
        files: { type: 'array', items: file },
      },
    },
    vm: {
      type: 'object', additionalProperties: false, required: ['files'],
      properties: {
        features: { type: 'array', items: { type: 'string', pattern: '^service\\.[a-z-]{1,48}$' } },
        folders: { type: 'array', items: folder },
        files: { type: 'array', items: file },
        'public-keys': { type: 'array', items: { enum: ['signing-key', 'logs-key', 'maintainers'] }, uniqueItems: true },
      },
    },
  },
});

/** Where sources lie: `dist/…` in the bundles' folder, `qrexec-services/…` at the top of the tree, all else in salt/build-infra. */
export interface SourceFolders {
  /** top of the checkout (or of what is installed of it) */
  tree: string;
  dist: string;
}

export function sourcePath(folders: SourceFolders, name: string): string {
  if (name.startsWith('dist/')) return join(folders.dist, name.slice('dist/'.length));
  if (name.startsWith('qrexec-services/')) return join(folders.tree, name);
  return join(folders.tree, 'salt/build-infra', name);
}

/** @throws Refusal BAD_DOCUMENT */
export function readManifest(folders: SourceFolders, role: Manifest['role']): Manifest {
  const document = parseDocument(readFileSync(sourcePath(folders, `manifests/${role}.yaml`), 'utf8'), { version: '1.2', uniqueKeys: true });
  if (document.errors[0] !== undefined) throw document.errors[0];
  return checkManifest(document.toJS({ maxAliasCount: 0 }));
}
