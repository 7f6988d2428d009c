// SPDX-License-Identifier: GPL-2.0-or-later
// The shape of a manifest (salt/README.md): dom0 and the stand-in read these files of ours without a check of
// their own.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import type { Manifest, Role } from '../../agents/shared/formats/manifest.js';
import { checkWith } from '../../agents/shared/json-schema.js';
import { top } from './provision-farm.js';

/** Of VMs that have an agent. */
export const roles: readonly Role[] = ['build', 'keys', 'build-logs', 'sys-net'];

const path = { type: 'string', pattern: '^(?:/[A-Za-z0-9_][A-Za-z0-9._-]*|/\\.gnupg)+$' } as const;
const source = {
  type: 'string',
  pattern: '^(?:dist|files|units|templates|qrexec-services|policy\\.jinja)(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$',
} as const;
const account = { enum: ['root', 'user', 'qubes'] } as const;
const mode = { type: 'string', pattern: '^[01][0-7]{3}$' } as const;
const folder = {
  type: 'object',
  additionalProperties: false,
  required: ['path', 'owner', 'group', 'mode'],
  properties: { path, owner: account, group: account, mode },
} as const;
const when = { enum: ['ssh-proxy', 'webhooks', 'notifier'] } as const;
const needs = { type: 'array', items: { enum: ['signing-key', 'logs-key'] }, minItems: 1 } as const;
const file = {
  type: 'object',
  required: ['path', 'owner', 'group'],
  oneOf: [
    {
      type: 'object',
      additionalProperties: false,
      required: ['path', 'owner', 'group', 'source', 'mode'],
      properties: { path, source, owner: account, group: account, mode, when },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['path', 'owner', 'group', 'template', 'mode'],
      properties: { path, template: source, owner: account, group: account, mode, needs, when },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['path', 'owner', 'group', 'link'],
      properties: { path, link: path, owner: account, group: account, when },
    },
  ],
  properties: { path: true, owner: true, group: true },
} as const;
const names = {
  type: 'array',
  items: { type: 'string', pattern: '^[a-z0-9][a-z0-9+._-]+$' },
  uniqueItems: true,
} as const;
const checkManifest = checkWith({
  type: 'object',
  additionalProperties: false,
  required: ['format', 'role', 'vm'],
  properties: {
    format: { const: 'build-infra/manifest@1' },
    role: { enum: ['build', 'keys', 'build-logs', 'sys-net', 'dom0'] },
    template: {
      type: 'object',
      additionalProperties: false,
      required: ['packages', 'files'],
      properties: {
        packages: {
          type: 'object',
          additionalProperties: false,
          required: ['Debian', 'RedHat'],
          properties: { Debian: names, RedHat: names },
        },
        files: { type: 'array', items: file },
      },
    },
    vm: {
      type: 'object',
      additionalProperties: false,
      required: ['files'],
      properties: {
        features: { type: 'array', items: { type: 'string', pattern: '^service\\.[a-z-]{1,48}$' } },
        folders: { type: 'array', items: folder },
        files: { type: 'array', items: file },
        'public-keys': {
          type: 'array',
          items: { enum: ['signing-key', 'logs-key', 'maintainers'] },
          uniqueItems: true,
        },
      },
    },
  },
});

/** @throws Refusal BAD_DOCUMENT */
export function readManifest(role: Manifest['role']): Manifest {
  const document = parseDocument(
    readFileSync(join(top, 'salt/build-infra/manifests', `${role}.yaml`), 'utf8'),
    { version: '1.2', uniqueKeys: true },
  );
  if (document.errors[0] !== undefined) throw document.errors[0];
  return checkManifest(document.toJS({ maxAliasCount: 0 }));
}
