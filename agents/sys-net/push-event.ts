// SPDX-License-Identifier: GPL-2.0-or-later
// What a webhook's payload says, as far as we care. Pure. The payload is signed by GitHub, but who pushed
// what is the attacker's choice; and whatever stands here is only a hint: the build VM verifies the tag
// itself.
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { matches, objectIdPattern } from '../shared/formats/names.js';
import type { WebhookConfig } from './config.js';
import type { IgnoredCode } from './refusals.js';

interface PushPayload {
  ref: string;
  deleted: boolean;
  after: string;
  repository: { full_name: string };
}

/**
 * Only what is used. GitHub adds fields whenever it likes, so unknown ones are let through here, and nothing
 * reads them.
 */
const checkPush: Check<PushPayload> = checkWith({
  type: 'object',
  required: ['ref', 'deleted', 'after', 'repository'],
  properties: {
    ref: { type: 'string', maxLength: 500 },
    deleted: { type: 'boolean' },
    after: { type: 'string', pattern: objectIdPattern },
    repository: {
      type: 'object',
      required: ['full_name'],
      properties: { full_name: { type: 'string', maxLength: 200 } },
    },
  },
});

export interface VersionPush {
  repository: string;
  component: string;
  tag: string;
  /** the object the tag points to, as GitHub says */
  after: string;
}

export type PushDecision =
  { kind: 'trigger'; push: VersionPush } | { kind: 'ignored'; code: IgnoredCode; detail: string };

/** A version as a git ref can spell it: DEP-14 writes `~` as `_` and `:` as `%`. */
const versionInRef = /^[0-9](?:[A-Za-z0-9+%_-]|\.(?!\.)){0,99}$/;

/** Whether `tag` is `pattern` with a version in place of {version}. */
export function isVersionTag(pattern: string, tag: string): boolean {
  const [before = '', after = ''] = pattern.split('{version}');
  if (tag.length <= before.length + after.length || !tag.startsWith(before) || !tag.endsWith(after))
    return false;
  return versionInRef.test(tag.slice(before.length, tag.length - after.length));
}

/**
 * @param untrustedBody the raw bytes, whose signature has been checked
 * @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT
 */
export function decidePush(untrustedBody: Uint8Array, config: WebhookConfig): PushDecision {
  const ignored = (code: IgnoredCode, detail: string): PushDecision => ({ kind: 'ignored', code, detail });
  const payload = readDocument(untrustedBody, config.webhook.bodyBytes, checkPush);
  const name = payload.repository.full_name;
  const repository = config.repositories.find((one) => one.fullName === name);
  if (repository === undefined) return ignored('UNKNOWN_REPOSITORY', 'the repository is not configured');
  if (payload.deleted) return ignored('DELETED', 'nothing is built for a deleted ref');
  if (!payload.ref.startsWith('refs/tags/')) return ignored('NOT_A_TAG', 'only tags are built');
  const tag = payload.ref.slice('refs/tags/'.length);
  if (!isVersionTag(repository.tag, tag))
    return ignored('NOT_A_VERSION', 'the tag is no version tag of this component');
  return {
    kind: 'trigger',
    push: { repository: name, component: repository.component, tag, after: payload.after },
  };
}

/** GitHub's delivery id: a UUID in lower case. */
export const deliveryPattern = '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';

export function isDeliveryId(untrusted: unknown): untrusted is string {
  return matches(deliveryPattern, untrusted);
}
